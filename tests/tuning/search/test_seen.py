"""What is known of trials at their epochs, and which of it a process is fitted on."""

import math

import pytest

from losstune.tuning.search.cube import Cube
from losstune.tuning.search.seen import MOST, Seen, last_epoch, observed_of, seen_of
from losstune.tuning.study.trial import Ending, TrialView
from tests.tuning.samples import CONTINUOUS, cut, diverged, failed, space_of, used_up


def view(number: int, rungs: dict[int, float], ending: Ending | None = None) -> TrialView:
    point = {"lr": 1e-3, "model.dropout": 0.01 * number}
    return TrialView("mse", number, point, "running", rungs, ending, started=0.0, finished=None)


def test_what_is_seen_of_trials() -> None:
    trials = [
        view(0, {3: 0.1, 9: 0.2}),  # runs
        view(1, {3: 0.2, 27: 0.5}, used_up(0.5)),
        view(2, {3: 0.1, 12: 0.3}, used_up(0.3, epochs=12)),  # patience: it has no more to gain
        view(3, {3: math.nan}, diverged(3)),
        view(4, {3: 0.4}, failed(4)),
        view(5, {}, None),
    ]
    found = [(own.trial.number, own.epoch, own.value) for own in seen_of(trials, 27, MOST)]
    assert found == [
        *[(0, 3, 0.1), (0, 9, 0.2), (1, 3, 0.2), (1, 27, 0.5)],
        *[(2, 3, 0.1), (2, 12, 0.3), (2, 27, 0.3), (3, 27, -math.inf), (4, 3, 0.4)],
    ]


def test_of_many_values_the_best_and_the_latest_are_fitted() -> None:
    trials = [view(number, {3: 1.0 / (number + 1)}) for number in range(300)]
    kept = {own.trial.number for own in seen_of(trials, 3, MOST)}
    assert kept == {*range(MOST * 2 // 3), *range(300 - MOST // 3, 300)}


def test_bad_values_are_made_equal() -> None:
    values = [0.5, 0.4, 0.3, 0.2, -0.4]
    seen = [Seen(view(number, {}), 3, value) for number, value in enumerate([*values, -math.inf])]
    found = observed_of(seen, Cube(space_of(CONTINUOUS)), 3).values
    assert found == pytest.approx([0.5, 0.4, 0.3, 0.2, -0.1, -0.1])  # the middle is 0.3, the best lies 0.2 over it


def test_the_last_epoch_is_that_of_all_studies() -> None:
    assert last_epoch([view(0, {3: 0.1}), view(1, {}, cut(0.1, 9))], [view(0, {}, used_up(0.5))]) == 27
    assert last_epoch([view(0, {3: 0.1})], []) == 3
    assert last_epoch([], []) == 0
