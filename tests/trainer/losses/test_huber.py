"""Huber's loss against torch's and plain loops, on both sides of delta."""

import pytest
import torch
from torch import Tensor

from tests.trainer.losses.reference import TOLERANCE, random_batch, run


def huber_by_loops(predictions: Tensor, targets: Tensor, delta: float) -> float:
    total = 0.0
    for p, t in zip(predictions.flatten().tolist(), targets.flatten().tolist(), strict=True):
        error = abs(p - t)
        total += error**2 / 2 if error <= delta else delta * (error - delta / 2)
    return total / predictions.numel()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("delta", [1e-4, 0.1, 1.0, 3.0, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_torchs_and_that_of_plain_loops(dtype: torch.dtype, delta: float, seed: int) -> None:
    predictions, targets = random_batch(seed, dtype=dtype)
    loss = run("huber", predictions, targets, delta=delta).loss
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(huber_by_loops(predictions, targets, delta), rel=TOLERANCE[dtype])
    torch.testing.assert_close(loss, torch.nn.HuberLoss(delta=delta)(predictions, targets))
    smooth = torch.nn.SmoothL1Loss(beta=delta)(predictions, targets)
    torch.testing.assert_close(loss / delta, smooth)


def test_with_delta_above_all_errors_it_is_half_the_mse() -> None:
    predictions, targets = random_batch(0)
    torch.testing.assert_close(
        run("huber", predictions, targets, delta=1e4).loss, run("mse", predictions, targets).loss / 2
    )


def test_an_outlier_pulls_no_harder_than_an_error_of_delta() -> None:
    predictions = torch.tensor([[0.05, 0.1, 7.0, 1e6]], requires_grad=True)
    run("huber", predictions, torch.zeros(1, 4), delta=0.1).loss.backward()
    assert predictions.grad is not None
    torch.testing.assert_close(predictions.grad, torch.tensor([[0.05, 0.1, 0.1, 0.1]]) / 4)
