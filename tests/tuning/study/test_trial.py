"""One trial as plain values, and how trials are ranked."""

from typing import Literal

import pytest

from losstune.tuning.study.trial import Ending, TrialView, best_trial, cause_of
from tests.tuning.samples import CONDITIONAL, cut, diverged, failed, new_trials, space_of, used_up

COLD = {"temperature": 0.07, "schedule": "constant"}


def ended(*endings: Ending | None) -> list[TrialView]:
    trials = new_trials(space_of(CONDITIONAL))
    for ending in endings:
        number = trials.add(COLD, seed=0)
        if ending:
            trials.end(number, ending)
    return list(trials)


@pytest.mark.parametrize(
    ("endings", "best"),
    [
        ([], None),
        ([None], None),
        ([failed(), diverged(3)], None),
        ([used_up(0.5), used_up(0.6)], 1),
        ([used_up(0.5), cut(0.6, 3)], 1),
        ([cut(0.4, 3), used_up(0.5), cut(0.3, 9)], 1),
        ([used_up(0.5), diverged(9, best=0.9)], 0),
        ([diverged(9, best=0.9), used_up(-0.5)], 1),
        ([Ending("failed", "its worker died", 9, 0.9, 8), used_up(0.1)], 1),
        ([cut(0.4, 3), used_up(0.5), cut(0.5, 3), used_up(0.5)], 1),
        ([None, used_up(0.1)], 1),
    ],
)
def test_the_best_is_the_highest_of_complete_and_pruned_and_the_first_of_equals(
    endings: list[Ending | None], best: int | None
) -> None:
    found = best_trial(ended(*endings))
    assert (found and found.number) == best


def test_a_running_trial_that_leads_is_not_the_best_yet() -> None:
    trials = new_trials(space_of(CONDITIONAL))
    trials.add(COLD, seed=0)
    trials.report(0, 3, 0.9)
    assert trials[0].rank_value == 0.9
    assert best_trial(trials) is None


def test_a_trial_has_spent_an_epoch_once_it_has_ended() -> None:
    assert [trial.spent for trial in ended(failed(), failed(1), cut(0.1, 3), None)] == [1, 1, 3, 0]
    assert [trial.epochs for trial in ended(failed(), failed(1), cut(0.1, 3), None)] == [0, 1, 3, 0]


def test_losses_are_ranked_together() -> None:
    trials = new_trials(space_of("loss_fn: mse"))
    trials.add({}, seed=0)
    trials.end(0, used_up(0.7))
    best = best_trial([*ended(used_up(0.6)), *trials])
    assert best is not None
    assert best.name == "mse-0000"


@pytest.mark.parametrize(
    ("state", "reason", "diverged"),
    [
        ("pruned", "diverged", True),
        ("pruned", "diverged: first NaN in `log` at own.py:3 (Own.forward), in epoch 3, batch 17", True),
        ("pruned", "cut at rung 3", False),
        ("failed", "diverged: an exception of this name", False),
    ],
)
def test_whether_a_trial_diverged_is_the_first_word_of_its_reason(
    state: Literal["pruned", "failed"], reason: str, diverged: bool
) -> None:
    assert Ending(state, reason, 3, 0.5, 1).diverged is diverged


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        (
            "diverged: first NaN in `log` at own.py:3 (f), in epoch 3, batch 17",
            "diverged: first NaN in `log` at own.py:3 (f)",
        ),
        ("diverged: inf put in by `add`, validating after epoch 12", "diverged: inf put in by `add`"),
        ("ValueError: in epoch 3, batch 17 of it", "ValueError: in epoch 3, batch 17 of it"),
    ],
)
def test_causes_are_the_same_whenever_they_came(reason: str, cause: str) -> None:
    assert cause_of(reason) == cause
