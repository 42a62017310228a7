"""Where a model computes, in which arithmetic, and that its random numbers are its own."""

import pytest
import torch
from torch import nn

from losstune.trainer.data.columns import column
from losstune.trainer.run.device import autocast, embed_pieces, pick_device, seeded
from tests.trainer.samples import refusal, sample_config, sample_pairs

CPU = torch.device("cpu")


class TestDevice:
    def test_a_gpu_that_is_not_there_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert refusal(pick_device, "cuda") == "device: found cuda, but torch sees no GPU here; allowed: auto, cpu"
        assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")

    def test_auto_is_a_gpu_where_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")
        assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(
    ("precision", "device", "half"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("float32", "cuda", False), ("bfloat16", "cpu", True)],
)
def test_a_model_computes_in_bfloat16_when_asked_to_or_on_a_gpu_that_may_choose(
    precision: str, device: str, half: bool
) -> None:
    assert isinstance(autocast(precision, torch.device(device)), torch.autocast) == half  # type: ignore[arg-type]


def test_random_numbers_follow_from_seed_and_epoch_and_are_put_back() -> None:
    def drawn(seed: int, epoch: int) -> float:
        with seeded(seed, epoch, CPU):
            return float(torch.rand(()))

    torch.manual_seed(3)
    expected = float(torch.rand(()))
    torch.manual_seed(3)
    found = [drawn(0, 1), drawn(0, 2), drawn(1, 1), drawn(11, 1), drawn(1, 11)]
    assert float(torch.rand(())) == expected
    assert len(set(found)) == len(found)
    assert drawn(0, 1) == found[0]


def test_inputs_pass_in_pieces_in_order_without_dropout_or_gradients() -> None:
    inputs = column(sample_pairs(rows=10).inputs, slice(None), CPU)
    model = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.9)).train()
    found = list(embed_pieces(model, inputs, sample_config(eval_batch=4), CPU))
    assert [len(piece) for piece in found] == [4, 4, 2]
    whole = torch.cat(found)
    assert not whole.requires_grad
    torch.testing.assert_close(whole, model[0](torch.from_numpy(sample_pairs(rows=10).inputs)))
