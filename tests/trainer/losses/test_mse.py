"""Mean squared error against plain loops and its own mathematics."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from losstune.trainer.losses import unit
from losstune.trainer.losses.mse import MseConfig
from tests.trainer.losses.reference import TOLERANCE, mse_by_loops, random_batch, run

seeds = st.integers(0, 2**31)
batches = st.integers(1, 12)
widths = st.integers(1, 9)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
def test_is_that_of_plain_loops(dtype: torch.dtype, seed: int) -> None:
    predictions, targets = random_batch(seed, dtype=dtype)
    loss = run("mse", predictions, targets).loss
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(mse_by_loops(predictions, targets), rel=TOLERANCE[dtype])


def test_is_a_mean_over_rows_and_dimensions() -> None:
    assert float(run("mse", torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [3.0, 0.0]])).loss) == 14 / 4


@given(seeds, batches, widths)
def test_on_unit_vectors_is_two_times_cosine_over_dimensions(seed: int, rows: int, dims: int) -> None:
    predictions, targets = map(unit, random_batch(seed, rows, dims))
    cosine = run("cosine", predictions, targets).loss
    torch.testing.assert_close(run("mse", predictions, targets).loss, 2 * cosine / dims)


@pytest.mark.parametrize("settings", [{"temperature": 0.07}])
def test_parameters_outside_their_limits_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MseConfig(**settings)
