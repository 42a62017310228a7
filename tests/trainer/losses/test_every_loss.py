"""What holds for every registered loss, or for all that only see directions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.config.loss_registry import loss_names
from tests.trainer.losses.reference import TOLERANCE, module_of, random_batch, run, twin_batch

DIRECTION = ("cosine", "infonce", "infonce_cosine", "siglip", "full_softmax")
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", loss_names())
def test_zero_predictions_give_gradients_of_bounded_size(name: str, dtype: torch.dtype) -> None:
    _, targets = random_batch(0, dtype=dtype)
    predictions = torch.zeros_like(targets, requires_grad=True)
    run(name, predictions, targets).loss.backward()
    assert predictions.grad is not None
    assert float(predictions.grad.abs().max()) < 1e7


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", loss_names())
def test_a_batch_of_one_target_gives_finite_gradients(name: str, dtype: torch.dtype) -> None:
    predictions, targets = random_batch(0, dtype=dtype)
    predictions.requires_grad_()
    run(name, predictions, targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int)).loss.backward()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()


@pytest.mark.parametrize("name", loss_names())
@pytest.mark.parametrize("twins", [1, 2])
def test_gradients_are_those_of_finite_differences(name: str, twins: int) -> None:
    predictions, targets, ids = twin_batch(5, groups=4, twins=twins)
    module = module_of(name, targets, ids)
    assert torch.autograd.gradcheck(lambda p: module(p, targets, ids).loss, predictions.requires_grad_())


@given(seeds, st.sampled_from(DIRECTION), st.floats(1e-3, 1e3))
def test_direction_losses_ignore_the_scale_of_each_row(seed: int, name: str, scale: float) -> None:
    predictions, targets = random_batch(seed)
    scales = torch.linspace(1, scale, len(targets), dtype=torch.float64)[:, None]
    before = run(name, predictions, targets).loss
    torch.testing.assert_close(run(name, predictions * scales, targets / scales).loss, before)


@given(seeds, st.sampled_from(loss_names()), st.integers(1, 3))
def test_the_order_of_rows_changes_nothing(seed: int, name: str, twins: int) -> None:
    predictions, targets, ids = twin_batch(seed, twins=twins)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        run(name, predictions[order], targets[order], ids[order]).loss, run(name, predictions, targets, ids).loss
    )


@given(seeds, st.sampled_from([name for name in loss_names() if name != "huber"]))
def test_a_rotation_of_both_spaces_changes_nothing(seed: int, name: str) -> None:
    predictions, targets = random_batch(seed)
    rotation = torch.linalg.qr(random_batch(seed + 1, 5, 5)[0]).Q
    before = run(name, predictions, targets).loss
    torch.testing.assert_close(run(name, predictions @ rotation, targets @ rotation).loss, before)
