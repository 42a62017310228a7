"""Cosine distance against plain loops, torch's own, and values by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.losses.reference import TOLERANCE, cosine_loss_by_loops, random_batch, run

seeds = st.integers(0, 2**31)
batches = st.integers(1, 12)
widths = st.integers(1, 9)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
def test_is_that_of_plain_loops(dtype: torch.dtype, seed: int) -> None:
    predictions, targets = random_batch(seed, dtype=dtype)
    loss = run("cosine", predictions, targets).loss
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(cosine_loss_by_loops(predictions, targets), rel=TOLERANCE[dtype])


@pytest.mark.parametrize("seed", range(3))
def test_is_torchs_cosine_embedding_loss(seed: int) -> None:
    predictions, targets = random_batch(seed)
    reference = torch.nn.functional.cosine_embedding_loss(predictions, targets, torch.ones(len(targets)))
    torch.testing.assert_close(run("cosine", predictions, targets).loss, reference)


def test_is_0_along_1_across_and_2_against() -> None:
    targets = torch.tensor([[2.0, 0.0]] * 3)
    for prediction, expected in (([5.0, 0.0], 0), ([0.0, 3.0], 1), ([-0.1, 0.0], 2)):
        assert float(run("cosine", torch.tensor([prediction] * 3), targets).loss) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_of_zero_predictions_is_1(dtype: torch.dtype) -> None:
    _, targets = random_batch(0, dtype=dtype)
    assert float(run("cosine", torch.zeros_like(targets), targets).loss) == 1


@given(seeds, batches, widths)
def test_lies_between_0_and_2(seed: int, rows: int, dims: int) -> None:
    assert -1e-12 <= float(run("cosine", *random_batch(seed, rows, dims)).loss) <= 2 + 1e-12
