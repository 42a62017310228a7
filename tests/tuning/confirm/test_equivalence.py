"""The claim that a cheaper arm is as good: how often it is wrong, in studies whose truth is known; and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from losstune.tuning.confirm.bootstrap import Array, studentise
from losstune.tuning.confirm.equivalence import equivalence_p, equivalence_p_values
from losstune.tuning.confirm.margin import MARGIN
from losstune.tuning.confirm.statistics import Components, detectable, difference
from tests.tuning.confirm.test_statistics import (
    BATCH,
    RESAMPLES,
    SEEDS,
    STUDIES,
    Study,
    few,
    hit_at_5,
    normal,
    reciprocal,
    skewed_difference,
)

EDGE = 0.05
"""The margin of the simulations, whatever the scores' unit."""


def claims(study: Study, true_difference: float, margin: float = EDGE, studies: int = STUDIES) -> float:
    """In what share of studies arms with this true difference are claimed to be as good as each other."""
    rng = np.random.default_rng(1)
    found = 0
    for batch in range(studies // BATCH):
        scores, truth = study(rng, BATCH)
        result = studentise(scores - truth + true_difference, batch, RESAMPLES)
        found += int((equivalence_p_values(result, margin) < 0.05).sum())
    return found / studies


@pytest.mark.parametrize(
    "study",
    [
        pytest.param(normal(0.02, 0.05, 0.1), id="equal parts"),
        pytest.param(normal(0.03, 0.01, 0.01), id="seeds dominate"),
        pytest.param(skewed_difference(reciprocal, 1.5, 0.1), id="reciprocal ranks"),
        pytest.param(normal(0.001, 0.1, 0.05), id="targets dominate", marks=pytest.mark.slow),
        pytest.param(normal(0.003, 0, 0.1), id="residual dominates", marks=pytest.mark.slow),
        pytest.param(skewed_difference(hit_at_5, 2.5, 0.1), id="hits", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("side", [-1, 1])
def test_arms_that_differ_by_the_margin_are_said_to_be_as_good_in_less_than_5_percent(study: Study, side: int) -> None:
    assert claims(study, side * EDGE) <= 0.04  # of the 2.5 % that are meant, with the error of 2,000 studies


def test_a_little_beyond_the_margin_it_is_hardly_ever_claimed() -> None:
    assert claims(normal(0.02, 0.05, 0.1), -1.5 * EDGE) <= 0.01


def test_equal_arms_are_said_to_be_as_good_where_their_seeds_could_show_a_difference_of_the_margin() -> None:
    """Each of the two tests misses one in ten, and never both: 80 %, or a little less by the wider of two limits."""
    parts = (0.02, 0.05, 0.1)
    margin = detectable(Components(*(part**2 for part in parts)), SEEDS, 60, power=0.9)
    assert 0.74 <= claims(normal(*parts), 0.0, margin=margin) <= 0.84


def cheaper_arms(rng: np.random.Generator, arms: int, luck: float) -> tuple[Array, Array, Array, Array]:
    """The choice and so many arms that are all exactly the margin worse.

    Each has seeds of its own, whose luck on validation rows goes with that on test rows by this correlation.

    Returns:
        Validation means of the choice (), of the arms (arms,), test scores of the choice (S, T), of the arms.
    """
    on_test = 0.03 * rng.standard_normal((arms + 1, SEEDS, 1))
    alone = 0.03 * rng.standard_normal((arms + 1, SEEDS, 1))
    on_validation = luck * on_test + math.sqrt(1 - luck**2) * alone
    shared = 0.3 * rng.standard_normal((1, 1, 60)) + 0.02 * rng.standard_normal((1, SEEDS, 1))
    own = 0.02 * rng.standard_normal((arms + 1, 1, 60)) + 0.05 * rng.standard_normal((arms + 1, SEEDS, 60))
    level = np.full(arms + 1, -EDGE)
    level[0] = 0.0
    test = level[:, None, None] + shared + on_test + own
    validation = level + on_validation.mean(axis=(1, 2))
    return validation[:1], validation[1:], test[0], test[1:]


@pytest.mark.slow
@pytest.mark.parametrize("luck", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("arms", [1, 20])
def test_the_cheapest_of_arms_that_are_all_too_bad_is_said_to_be_as_good_in_at_most_5_percent(
    luck: float, arms: int
) -> None:
    """The whole way: chosen on validation as the cheapest within the margin, then claimed on the test rows."""
    rng = np.random.default_rng(3)
    wrong = 0
    for seed in range(STUDIES):
        choice_validation, validation, choice, others = cheaper_arms(rng, arms, luck)
        within = np.flatnonzero(validation >= choice_validation - EDGE)
        if within.size:  # arms come in the order of their cost
            wrong += equivalence_p(others[within[0]], choice, EDGE, seed=seed, resamples=RESAMPLES) < 0.05
    assert wrong / STUDIES <= 0.05


@hypothesis_settings(max_examples=200)
@given(few(-1, 2), few(-2, 1), st.sampled_from([0.125, 0.5, 1.0, 3.0]))
def test_p_is_below_5_percent_if_and_only_if_the_limits_lie_within_the_margin(
    a: Array, b: Array, margin: float
) -> None:
    found, p = difference(a, b, resamples=99), equivalence_p(a, b, margin, resamples=99)
    assert (p < 0.05) == (-margin < found.low and found.high < margin)
    assert p == equivalence_p(b, a, margin, resamples=99)


@pytest.mark.parametrize(
    ("gap", "shown"),
    [(0.0, True), (-0.0199, True), (0.0199, True), (-0.02, False), (0.02, False), (-0.5, False), (0.5, False)],
)
def test_a_certain_difference_is_within_the_margin_or_is_not(gap: float, shown: bool) -> None:
    base = np.zeros((10, 30))
    p = equivalence_p(base + gap, base, MARGIN)
    assert p == (pytest.approx(1 / 4001) if shown else 1.0)


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        equivalence_p(np.zeros((10, 5)), np.ones((10, 5)), 0.1, resamples=5)
