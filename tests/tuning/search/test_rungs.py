"""The rule that cuts, against a plain reference and by hand."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.tuning.search.rungs import Rungs

values = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) | st.floats(-1, 1)


@dataclass
class PlainAsha:
    """The rule, written down as its definition: sort the n values, take the top max(1, ⌊n/η⌋)."""

    factor: int
    entered: list[tuple[int, float]] = field(default_factory=list)

    def goes_on(self, number: int, value: float) -> bool:
        self.entered.append((number, value))
        ranking = sorted(self.entered, key=lambda entry: (-entry[1], entry[0]))
        keep = max(1, len(ranking) // self.factor)
        return number in [other for other, _ in ranking[:keep]]


def arrivals(most: int = 40) -> st.SearchStrategy[list[tuple[int, float]]]:
    """Trials in any order of their numbers, each with its value."""
    return st.lists(values, min_size=1, max_size=most).flatmap(lambda found: st.permutations(list(enumerate(found))))


@pytest.mark.parametrize(
    ("number", "value", "goes_on"),
    [
        (0, 0.5, True),  # the only one
        (1, 0.4, False),  # 2 values: the best 1
        (2, 0.6, True),
        (3, 0.3, False),
        (4, 0.55, False),  # 5 values: still the best 1
        (5, 0.58, True),  # 6 values: the best 2 are 0.6 and 0.58
        (6, 0.58, False),  # 7 values: 0.6 and trial 5's 0.58; of equals the lower number
        (7, 0.59, True),  # 8 values: 0.6 and 0.59
        (8, 0.58, False),  # 9 values: the best 3 are 0.6, 0.59 and trial 5's 0.58
        (9, 0.0, False),
    ],
)
def test_by_hand_with_a_third_going_on(number: int, value: float, goes_on: bool) -> None:
    entered = [0.5, 0.4, 0.6, 0.3, 0.55, 0.58, 0.58, 0.59, 0.58, 0.0]
    rungs = Rungs((3,), 3)
    for earlier in range(number):
        rungs.goes_on(earlier, 3, entered[earlier])
    assert entered[number] == value
    assert rungs.goes_on(number, 3, value) is goes_on


@given(arrivals(), st.integers(2, 5))
def test_every_decision_is_that_of_the_plain_rule(order: list[tuple[int, float]], factor: int) -> None:
    rungs, plain = Rungs((1, 5), factor), PlainAsha(factor)
    for number, value in order:
        assert rungs.goes_on(number, 5, value) == plain.goes_on(number, value)


@given(arrivals(), st.integers(2, 5), st.data())
def test_entering_twice_changes_nothing(order: list[tuple[int, float]], factor: int, data: st.DataObject) -> None:
    once, twice = Rungs((1,), factor), Rungs((1,), factor)
    for index, (number, value) in enumerate(order):
        decision = once.goes_on(number, 1, value)
        assert twice.goes_on(number, 1, value) == decision
        assert twice.goes_on(number, 1, value) == decision
        again, _ = order[data.draw(st.integers(0, index))]
        twice.goes_on(again, 1, data.draw(values))


def test_of_equal_values_the_lower_number_is_the_better_one() -> None:
    rungs = Rungs((1,), 2)
    decisions = {number: rungs.goes_on(number, 1, 0.5) for number in (3, 1, 2, 0)}
    assert decisions == {3: True, 1: True, 2: False, 0: True}


def test_rungs_do_not_see_each_other() -> None:
    rungs = Rungs((1, 3), 3)
    assert rungs.goes_on(0, 1, 0.9)
    assert rungs.goes_on(1, 3, 0.1)
    assert not rungs.goes_on(2, 3, 0.05)


def test_what_ended_by_patience_is_counted_at_the_rungs_that_follow() -> None:
    rungs = Rungs((3, 9, 27), 3)
    rungs.carry(0, 10, 0.5)
    assert rungs.goes_on(1, 9, 0.1)
    assert not rungs.goes_on(1, 27, 0.1)


def test_what_ended_by_patience_at_a_rung_is_counted_there() -> None:
    rungs = Rungs((3, 9, 27), 3)
    rungs.carry(0, 9, 0.5)
    assert rungs.goes_on(1, 3, 0.1)
    assert not rungs.goes_on(1, 9, 0.1)
    assert not rungs.goes_on(1, 27, 0.1)


def test_what_was_carried_does_not_replace_what_was_reached() -> None:
    rungs = Rungs((3,), 3)
    rungs.goes_on(0, 3, 0.2)
    rungs.carry(0, 2, 0.9)
    assert rungs.goes_on(1, 3, 0.5)
