"""Settings of a study: defaults, limits, rungs and budget."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from losstune.tuning.space.settings import Budget, StudySettings
from tests.tuning.samples import settings_of


def refused(**given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        StudySettings.model_validate(given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("grace", "factor", "most", "rungs"),
    [
        (3, 3, 81, (3, 9, 27)),
        (1, 3, 81, (1, 3, 9, 27)),
        (1, 2, 9, (1, 2, 4, 8)),
        (11, 3, 300, (11, 33, 99, 297)),
        (3, 3, 82, (3, 9, 27, 81)),
        (80, 3, 81, (80,)),
        (81, 3, 81, ()),
        (1, 2, 1, ()),
    ],
)
def test_rungs_are_powers_of_the_factor_below_the_last_epoch(
    grace: int, factor: int, most: int, rungs: tuple[int, ...]
) -> None:
    assert settings_of(grace_epochs=grace, reduction_factor=factor, max_epochs=most).rungs == rungs


@given(st.integers(1, 50), st.integers(2, 10), st.integers(0, 2000))
def test_no_rung_is_left_out(grace: int, factor: int, more: int) -> None:
    most = grace + more
    rungs = settings_of(grace_epochs=grace, reduction_factor=factor, max_epochs=most).rungs
    assert rungs == tuple(grace * factor**k for k in range(12) if grace * factor**k < most)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grace_epochs": 9, "max_epochs": 3}, "grace_epochs 9 is more than max_epochs 3"),
        ({"epochs_per_loss": 810, "trials": 5}, "epochs_per_loss and trials are two budgets: give one"),
        (
            {"epochs_per_loss": 80},
            "epochs_per_loss 80 is less than max_epochs 81: not one trial could use its epochs",
        ),
        ({"reduction_factor": 1}, "greater than or equal to 2"),
        ({"max_epochs": 0}, "greater than or equal to 1"),
        ({"trials": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**63}, "less than 9223372036854775808"),
        ({"max_epochs": 81.0}, "valid integer"),
        ({"max_epochs": True}, "valid integer"),
        ({"max_epochs": "81"}, "valid integer"),
        ({"sampler": "cmaes"}, "'tpe', 'gp', 'random' or 'grid'"),
        ({"eval_queries": 999}, "should be a whole number of at least 1000, or all"),
        ({"objective": "val/loss"}, "'val/mrr', 'val/cosine_sim'"),
        ({"epochs": 81}, "Extra inputs are not permitted"),
    ],
)
def test_refuses(given: dict[str, Any], message: str) -> None:
    assert message in refused(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, ""), ({"eval_queries": "all"}, ""), ({"eval_queries": 1024}, "an estimate from 1,024 validation rows")],
)
def test_what_is_an_estimate_is_said_to_be_one(given: dict[str, Any], words: str) -> None:
    assert settings_of(**given).estimate == words


def test_a_study_that_names_no_sampler_is_one_of_the_former_default() -> None:
    assert StudySettings.model_validate({}).sampler == "tpe"


def test_a_budget_of_one_full_trial_is_enough() -> None:
    assert settings_of(epochs_per_loss=81, max_epochs=81).budget == Budget(epochs=81, trials=None)


@pytest.mark.parametrize(
    ("given", "text"),
    [({}, "810 epochs"), ({"max_epochs": 5}, "50 epochs"), ({"epochs_per_loss": 600}, "600 epochs"),
     ({"trials": 7}, "7 trials")],
)  # fmt: skip
def test_budget_without_a_wish_is_ten_full_trials(given: dict[str, Any], text: str) -> None:
    assert str(settings_of(**given).budget) == text


@pytest.mark.parametrize(
    ("budget", "epochs", "trials", "left"),
    [
        (Budget(epochs=100, trials=None), 99, 1000, True),
        (Budget(epochs=100, trials=None), 100, 1, False),
        (Budget(epochs=None, trials=3), 10**6, 2, True),
        (Budget(epochs=None, trials=3), 0, 3, False),
    ],
)
def test_budget_counts_epochs_or_trials(budget: Budget, epochs: int, trials: int, left: bool) -> None:
    assert budget.left(epochs, trials) is left


@pytest.mark.parametrize(
    ("budget", "epochs", "trials", "left"),
    [
        (Budget(epochs=100, trials=None), 0, 0, 4),  # each of them takes 30 epochs at the most
        (Budget(epochs=100, trials=None), 40, 7, 2),
        (Budget(epochs=100, trials=None), 110, 7, 0),
        (Budget(epochs=None, trials=5), 1000, 3, 2),
        (Budget(epochs=None, trials=5), 1000, 6, 0),
    ],
)
def test_as_many_trials_are_left_as_a_loss_starts_at_the_least(
    budget: Budget, epochs: int, trials: int, left: int
) -> None:
    assert budget.trials_left(epochs, trials, max_epochs=30) == left
