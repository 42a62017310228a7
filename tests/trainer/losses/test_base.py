"""What losses are made of: unit rows, distances, and how parts are printed."""

import pytest
import torch

from losstune.trainer.losses import unit
from losstune.trainer.losses.base import centered, cosine_distance, takes_right
from tests.trainer.losses.reference import cosine_loss_by_loops, random_batch


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_unit_rows_of_half_precision_are_made_in_float32(dtype: torch.dtype) -> None:
    rows = unit(torch.tensor([[3e-4, 4e-4], [0, 0]], dtype=dtype))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0, 0]]), atol=5e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_rows_have_length_one_in_their_own_type_and_a_zero_row_stays(dtype: torch.dtype) -> None:
    rows = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-1e-3, 0.0]], dtype=dtype))
    assert rows.dtype == dtype
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]], dtype=dtype))


def test_centred_rows_are_shifted_and_without_a_centre_they_are_the_same_object() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert centered(rows, torch.tensor([1.0, 2.0])).tolist() == [[0, 0], [2, 2]]
    assert centered(rows, None) is rows


def test_cosine_distance_is_that_of_plain_loops() -> None:
    predictions, targets = random_batch(3)
    assert float(cosine_distance(predictions, targets)) == pytest.approx(cosine_loss_by_loops(predictions, targets))


def test_a_loss_of_ones_own_is_told_of_other_right_targets_only_where_it_asks() -> None:
    def three(predictions: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor) -> None: ...
    def four(predictions: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor, right: object = None) -> None: ...

    assert (takes_right(three), takes_right(four)) == (False, True)
