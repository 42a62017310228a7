"""The weighted sum of cosine distance and mean squared error."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from losstune.trainer.losses.cosine_mse import CosineMseConfig
from tests.trainer.losses.reference import TOLERANCE, cosine_loss_by_loops, mse_by_loops, random_batch, run

seeds = st.integers(0, 2**31)
batches = st.integers(1, 12)
widths = st.integers(1, 9)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
def test_is_that_of_plain_loops(dtype: torch.dtype, seed: int) -> None:
    predictions, targets = random_batch(seed, dtype=dtype)
    output = run("cosine_mse", predictions, targets, cosine_weight=0.8, mse_weight=0.2)
    cosine = 0.8 * cosine_loss_by_loops(predictions, targets)
    mse = 0.2 * mse_by_loops(predictions, targets)
    assert float(output.loss) == pytest.approx(cosine + mse, rel=TOLERANCE[dtype])
    assert float(output.parts["weighted_cosine"]) == pytest.approx(cosine, rel=TOLERANCE[dtype])
    assert float(output.parts["weighted_mse"]) == pytest.approx(mse, rel=TOLERANCE[dtype])


@given(seeds, st.floats(0, 100), st.floats(0.01, 100))
def test_is_the_weighted_sum_of_its_logged_parts(seed: int, alpha: float, beta: float) -> None:
    predictions, targets = random_batch(seed)
    output = run("cosine_mse", predictions, targets, cosine_weight=alpha, mse_weight=beta)
    torch.testing.assert_close(output.loss, output.parts["weighted_cosine"] + output.parts["weighted_mse"])
    torch.testing.assert_close(output.parts["weighted_cosine"], alpha * run("cosine", predictions, targets).loss)
    torch.testing.assert_close(output.parts["weighted_mse"], beta * run("mse", predictions, targets).loss)


@pytest.mark.parametrize(
    "settings", [{"cosine_weight": -0.1}, {"mse_weight": 100.5}, {"cosine_weight": 0.0, "mse_weight": 0.0}]
)
def test_parameters_outside_their_limits_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CosineMseConfig(**settings)


def test_a_run_prints_both_parts_with_their_weights() -> None:
    parts = {"weighted_cosine": 0.25, "weighted_mse": 0.125}
    assert CosineMseConfig().part_texts(parts, 32) == ["Cosine x 0.7: 0.2500", "MSE x 0.3: 0.1250"]
