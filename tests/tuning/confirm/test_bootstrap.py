"""The crossed bootstrap-t against a plain loop, Student's t and tables by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from losstune.tuning.confirm import bootstrap
from losstune.tuning.confirm.bootstrap import Array, studentise


def plain_t(d: Array) -> float:
    """|t| of a mean, from the ANOVA table written out."""
    n_seeds, n_targets = d.shape
    mean = d.mean()
    a = n_targets * sum((row.mean() - mean) ** 2 for row in d) / (n_seeds - 1)
    b = n_seeds * sum((column.mean() - mean) ** 2 for column in d.T) / (n_targets - 1)
    left = sum((d[s, t] - d[s].mean() - d[:, t].mean() + mean) ** 2 for s in range(n_seeds) for t in range(n_targets))
    e = left / ((n_seeds - 1) * (n_targets - 1))
    return float(abs(mean) / math.sqrt((max(a, e) + max(b, e) - e) / (n_seeds * n_targets)))


def test_resamples_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random((2, 6, 9)) + rng.random((2, 6, 1))
    found = studentise(scores, 7, 40)
    draws = np.random.default_rng(7).spawn(2)
    of_seeds, of_targets = draws[0].integers(6, size=(40, 6)), draws[1].integers(9, size=(40, 9))
    for k in range(2):
        assert abs(found.value[k]) / found.error[k] == pytest.approx(plain_t(scores[k]))
        for resample in range(40):
            drawn = (scores[k] - scores[k].mean())[np.ix_(of_seeds[resample], of_targets[resample])]
            assert found.resampled[k, resample] == pytest.approx(plain_t(drawn))


def test_limits_and_p_read_the_resamples_where_they_are_wider_than_students() -> None:
    study = bootstrap.Studentised(np.array([3.0]), np.ones(1), np.full(1, 1e6), np.arange(99.0)[None] / 10)
    # 5 of 99 resamples at most may be as far for p < 0.05 to fail: 1 + 4 of 100 is 0.05, so the 4th largest counts.
    assert study.half_widths()[0] == pytest.approx(9.5)
    assert study.p_values()[0] == pytest.approx((1 + 69) / 100)


def test_limits_and_p_are_students_where_those_are_wider() -> None:
    study = bootstrap.Studentised(np.array([3.0]), np.ones(1), np.full(1, 9.0), np.ones((1, 999)))
    assert study.half_widths()[0] == pytest.approx(stats.t.ppf(0.975, 9))
    assert study.p_values()[0] == pytest.approx(2 * stats.t.sf(3, 9))


@pytest.mark.parametrize(
    ("d", "degrees"),
    [
        # A = 24 of 1 degree, B = 18 of 2 and E = 2 of 2: 40² / (24²/1 + 18²/2 + 2²/2).
        ([[1, 2, 6], [3, 8, 10]], 1600 / 740),
        ([[1, 2, 3], [1, 2, 3]], 2),  # targets alone
        ([[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]], 3),  # seeds alone
        ([[1, -1, 0], [-1, 1, 0], [0, 0, 0]], 4),  # residual alone
        ([[1, 2, 4, 9]], 3),  # one seed
        ([[1], [2], [4], [5], [9]], 4),  # one target
    ],
)
def test_degrees_of_freedom_are_those_of_the_mean_squares_in_use(d: list[list[int]], degrees: float) -> None:
    assert studentise(np.array(d, dtype=float)[None], 0, 20).degrees[0] == pytest.approx(degrees)


def test_rounding_does_not_choose_the_degrees_where_mean_squares_are_equal() -> None:
    d = np.zeros((5, 8))
    d[1, 0], d[4, 0] = -0.25, 0.25  # A equals E
    scaled = np.linspace(0.01, 1, 100)[:, None, None] * d + 0.1
    assert studentise(scaled, 0, 20).degrees == pytest.approx(studentise(d[None], 0, 20).degrees[0])
