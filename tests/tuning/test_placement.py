"""How trials share GPUs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.placement import spread_share


@pytest.mark.parametrize(
    ("share", "gpus", "concurrency", "spread"),
    [
        (0.25, 2, 2, 1.0),
        (0.25, 2, 4, 0.5),
        (0.25, 2, 3, 0.5),
        (0.25, 2, 8, 0.25),
        (0.1, 4, 1, 1.0),
        (0.25, 1, 2, 0.25),
        (0.0, 2, 2, 0.0),
        (1.0, 4, 2, 1.0),
        (2.0, 4, 2, 2.0),
        (0.5, 0, 2, 0.5),
    ],
)
def test_a_share_grows_until_trials_spread_over_all_gpus(
    share: float, gpus: float, concurrency: int, spread: float
) -> None:
    assert spread_share(share, gpus, concurrency) == pytest.approx(spread)


@given(st.integers(2, 8), st.integers(1, 10), st.integers(1, 80))
def test_all_trials_fit_and_no_gpu_has_more_than_its_part(gpus: int, per_gpu: int, concurrency: int) -> None:
    concurrency = min(concurrency, gpus * per_gpu)
    share = spread_share(1 / per_gpu, gpus, concurrency)
    fits = int(1 / share + 1e-9)
    assert 1 / per_gpu <= share <= 1
    assert fits * gpus >= concurrency
    assert fits == math.ceil(concurrency / gpus)
