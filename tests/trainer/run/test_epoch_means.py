"""Means of an epoch are over rows, however they came in batches."""

import pytest
import torch

from losstune.trainer.losses import LossOutput
from losstune.trainer.run import epoch_means
from losstune.trainer.run.epoch_means import EpochMeans
from tests.trainer.samples import refusal


@pytest.mark.parametrize("at_once", [1, 5, 10_000])
def test_a_batch_counts_by_its_rows(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(epoch_means, "ROWS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    means, losses, shares, cosines = EpochMeans("own"), [], [], []
    for rows in (4, 4, 1):
        predictions, targets = (torch.randn(rows, 3, generator=generator) for _ in range(2))
        loss, share = torch.rand((), generator=generator), torch.rand((), generator=generator)
        means.add(LossOutput(loss, {"share": share}), predictions, targets)
        losses += [loss.item()] * rows
        shares += [share.item()] * rows
        cosines += torch.nn.functional.cosine_similarity(predictions, targets).tolist()
    expected = {
        name: sum(values) / 9 for name, values in (("loss", losses), ("share", shares), ("cosine_sim", cosines))
    }
    assert means.result() == pytest.approx(expected)


def test_a_loss_that_is_not_finite_stays_to_be_seen() -> None:
    means = EpochMeans("own")
    rows = torch.ones(2, 2)
    means.add(LossOutput(torch.tensor(1.0), {}), rows, rows)
    means.add(LossOutput(torch.tensor(float("inf")), {}), rows, rows)
    assert means.result() == {"loss": float("inf"), "cosine_sim": pytest.approx(1.0)}


@pytest.mark.parametrize(("first", "second"), [(["a", "neg"], ["a"]), (["a"], ["a", "neg"]), ([], ["neg"])])
@pytest.mark.parametrize("at_once", [1, 10_000])
def test_a_batch_of_other_parts_is_refused(
    monkeypatch: pytest.MonkeyPatch, at_once: int, first: list[str], second: list[str]
) -> None:
    monkeypatch.setattr(epoch_means, "ROWS_AT_ONCE", at_once)
    means, rows, one = EpochMeans("own"), torch.ones(2, 2), torch.tensor(1.0)
    means.add(LossOutput(one, dict.fromkeys(first, one)), rows, rows)
    message = refusal(means.add, LossOutput(one, dict.fromkeys(second, one)), rows, rows)
    assert message.startswith("loss own: its part 'neg' is in training batch ")
