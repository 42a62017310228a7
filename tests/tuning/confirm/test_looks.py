"""Looks at validation scores: what they decide, by hand and against SciPy; how often they are wrong, simulated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from losstune.tuning.confirm.looks import ERROR, LOOKS, Stop, decided, p_values

Values = dict[str, dict[int, float | None]]

NOISE = (0.0, 0.01, -0.01, 0.005, 0.0, -0.005, 0.01, -0.01, 0.0, 0.005)


def known(seeds: int = 10, **levels: float) -> Values:
    """Settings whose differences change a little from seed to seed, each in a way of its own."""
    return {
        name: {seed: level + NOISE[(seed + 3 * place) % 10] for seed in range(seeds)}
        for place, (name, level) in enumerate(levels.items())
    }


def test_what_has_clearly_lost_stops_at_the_first_look() -> None:
    found = decided(known(good=0.9, fair=0.89, bad=0.3), 10)
    assert found.stops == {"bad": Stop("bad", 4, "good")}
    assert found.open == 10


def test_a_stop_is_told_with_its_seeds_and_what_was_better() -> None:
    told = "bad gets no more than 4 seeds: it has clearly lost to good in validation"
    assert str(Stop("bad", 4, "good")) == told


def test_what_is_less_clear_stops_at_a_later_look() -> None:
    gaps = {0.01: [], 0.015: [8], 0.025: [6], 0.04: [4]}
    found = {gap: decided(known(good=0.9, bad=0.9 - gap), 10).stops for gap in gaps}
    assert {gap: [stop.seeds for stop in stops.values()] for gap, stops in found.items()} == gaps


@pytest.mark.parametrize(("there", "opened"), [(0, 4), (3, 4), (4, 6), (5, 6), (6, 8), (8, 10), (10, 10)])
def test_no_more_is_trained_than_the_next_look_needs(there: int, opened: int) -> None:
    assert decided(known(there, good=0.9, fair=0.89), 10).open == opened


def test_a_look_waits_for_the_slowest_and_not_for_what_has_stopped() -> None:
    values = known(8, good=0.9, fair=0.89, bad=0.3)
    for seed in range(4, 8):
        del values["bad"][seed]
    assert decided(values, 10).open == 10
    del values["fair"][3]
    assert decided(values, 10) == ({}, 4)


def test_there_is_no_look_at_all_the_seeds() -> None:
    assert decided(known(4, good=0.9, bad=0.3), 4) == ({}, 4)
    assert decided(known(6, good=0.9, bad=0.3), 6).stops["bad"].seeds == 4
    assert decided(known(8, good=0.9, fair=0.89), 20).open == 20  # the last look is after eight


def test_what_failed_with_a_seed_neither_stops_nor_is_a_measure_of_others() -> None:
    values = known(good=0.9, fair=0.89, bad=0.3)
    values["good"][1] = None
    values["bad"][2] = None
    assert decided(values, 10) == ({}, 10)


def test_an_untuned_start_stops_no_candidate_and_is_stopped_by_any_other() -> None:
    """What has lost to a start may be better than what goes on: here `fair`, to which it did not lose."""
    values = known(start=0.9, fair=0.5, bad=0.3, other=0.2)
    found = decided(values, 10, starts=("start", "other"))
    assert found.stops == {"bad": Stop("bad", 4, "fair"), "other": Stop("other", 4, "start")}
    assert set(decided(values, 10).stops) == {"fair", "bad", "other"}
    assert decided(known(start=0.9, only=0.3), 10, starts=("start",)) == ({}, 10)


def test_within_the_margin_nothing_stops() -> None:
    values = known(good=0.9, fair=0.7)
    assert decided(values, 10, margin=0.1).stops["fair"].seeds == 4
    assert decided(values, 10, margin=0.2) == ({}, 10)


def test_one_setting_alone_and_equal_ones_go_on() -> None:
    assert decided(known(only=0.5), 10) == ({}, 10)
    same: Values = {name: dict.fromkeys(range(10), 0.5) for name in "ab"}
    assert decided(same, 10) == ({}, 10)


def test_a_certain_difference_is_one_without_any_spread() -> None:
    same: Values = {name: dict.fromkeys(range(10), level) for name, level in (("a", 0.5), ("b", 0.25))}
    assert decided(same, 10).stops == {"b": Stop("b", 4, "a")}
    assert decided(same, 10, margin=0.25).stops == {}


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_p_is_that_of_the_one_sided_paired_t_test(margin: float) -> None:
    values = np.random.default_rng(1).standard_normal((3, 6))
    found = p_values(values, margin)
    for i, j in ((0, 1), (1, 0), (0, 2), (2, 1)):
        expected = stats.ttest_1samp(values[i] - values[j], margin, alternative="greater").pvalue
        assert found[i, j] == pytest.approx(expected)


scores = st.floats(0, 1).map(lambda value: round(value, 3))


@given(
    st.lists(st.lists(scores, min_size=10, max_size=10), min_size=1, max_size=5),
    st.integers(0, 10),
    st.sets(st.integers(1, 4).map(str)),
)
def test_what_was_decided_with_fewer_runs_stays(rows: list[list[float]], seeds: int, starts: set[str]) -> None:
    """So that a confirmation which goes on, or has more seeds, decides the same."""
    whole = {str(place): dict(enumerate(row)) for place, row in enumerate(rows)}
    part = {name: {seed: own[seed] for seed in range(seeds)} for name, own in whole.items()}
    before, after = decided(part, 10, starts=starts), decided(whole, 10, starts=starts)
    assert before.stops.items() <= after.stops.items()
    assert all(stop.seeds >= before.open for name, stop in after.stops.items() if name not in before.stops)
    assert not whole.keys() - starts <= after.stops.keys()  # whichever candidate is best at a look goes on


def test_of_equal_settings_any_stops_in_at_most_the_error_of_all_looks() -> None:
    """Splits and luck of their own; the limit has three standard errors of 3,000 studies."""
    rng = np.random.default_rng(2)
    studies, wrong = 3000, 0
    for _ in range(studies):
        values = rng.standard_normal((1, 10)) + rng.standard_normal((4, 10))
        wrong += bool(
            decided({str(place): dict(enumerate(row)) for place, row in enumerate(values.tolist())}, 10).stops
        )
    assert 0.001 < wrong / studies <= ERROR + 3 * np.sqrt(ERROR / studies)


def test_looks_are_before_the_tenth_seed() -> None:
    assert list(LOOKS) == sorted(LOOKS)
    assert LOOKS[-1] < 10
