"""The settings of a study: files and options together, and what is a default gives way to a wish."""

from typing import Any

import pytest

from losstune.tuning.space.merged import merged_settings
from losstune.tuning.space.reader import load_space
from losstune.tuning.space.settings import StudySettings
from tests.trainer.samples import refusal
from tests.tuning.samples import space_of


def test_two_files_may_leave_settings_to_each_other() -> None:
    first = space_of("loss_fn: mse\nstudy: {max_epochs: 27, seed: 3}", "a.yaml")
    second = space_of("loss_fn: cosine\nstudy: {max_epochs: 27, trials: 5}", "b.yaml")
    expected = StudySettings(max_epochs=27, seed=3, trials=5, sampler="gp")
    assert merged_settings([first, second], {}) == expected


def test_a_new_study_has_the_sampler_of_its_space_else_the_process() -> None:
    assert merged_settings([space_of("loss_fn: mse")], {}).sampler == "gp"
    assert merged_settings([space_of("loss_fn: mse\nstudy: {sampler: tpe}")], {}).sampler == "tpe"
    assert merged_settings([space_of("loss_fn: mse")], {"sampler": "tpe"}).sampler == "tpe"


def test_two_files_that_disagree_are_named() -> None:
    first = space_of("loss_fn: mse\nstudy: {max_epochs: 27}", "a.yaml")
    second = space_of("loss_fn: cosine\nstudy: {max_epochs: 81}", "b.yaml")
    message = refusal(merged_settings, [first, second], {})
    assert message == "study.max_epochs: a.yaml says 27, b.yaml says 81; give --max-epochs to settle it"
    assert merged_settings([first, second], {"max_epochs": 9}).max_epochs == 9


def test_options_override_the_file() -> None:
    space = space_of("loss_fn: mse\nstudy: {max_epochs: 27, sampler: grid, seed: 3}")
    settings = merged_settings([space], {"max_epochs": 9, "sampler": "random"})
    assert (settings.max_epochs, settings.sampler, settings.seed) == (9, "random", 3)


def test_a_budget_on_the_command_line_replaces_the_other_kind_in_a_file() -> None:
    space = space_of("loss_fn: mse\nstudy: {epochs_per_loss: 810}")
    assert str(merged_settings([space], {"trials": 4}).budget) == "4 trials"
    space = space_of("loss_fn: mse\nstudy: {trials: 4}")
    assert str(merged_settings([space], {"epochs_per_loss": 600}).budget) == "600 epochs"


@pytest.mark.parametrize(
    ("study", "options", "message"),
    [
        ("{epochs_per_loss: 810, trials: 4}", {}, "study: epochs_per_loss and trials are two budgets: give one"),
        ("{}", {"epochs_per_loss": 810, "trials": 4}, "study: epochs_per_loss and trials are two budgets: give one"),
        (
            "{epochs_per_loss: 50}",
            {},
            "study: epochs_per_loss 50 is less than max_epochs 81: not one trial could use its epochs",
        ),
        ("{max_epochs: 2, grace_epochs: 3}", {}, "study: grace_epochs 3 is more than max_epochs 2"),
        ("{grace_epochs: 3}", {"max_epochs": 2}, "study: grace_epochs 3 is more than max_epochs 2"),
        ("{max_epochs: 2}", {"grace_epochs": 3}, "study: grace_epochs 3 is more than max_epochs 2"),
        ("{}", {"seed": -1}, "study: seed: found -1; should be greater than or equal to 0"),
    ],
)
def test_settings_that_contradict_each_other(study: str, options: dict[str, Any], message: str) -> None:
    assert refusal(merged_settings, [space_of(f"loss_fn: mse\nstudy: {study}")], options) == message


@pytest.mark.parametrize(
    ("options", "grace", "epochs"),
    [
        ({"max_epochs": 1}, 1, 810),
        ({"max_epochs": 3}, 3, 810),
        ({"max_epochs": 1000}, 3, 10_000),
        ({"max_epochs": 1000, "epochs_per_loss": 2000}, 3, 2000),
    ],
)
def test_a_default_gives_way_to_the_epochs_that_are_asked_for(options: dict[str, int], grace: int, epochs: int) -> None:
    settings = merged_settings([load_space("cosine"), load_space("infonce")], options)
    assert (settings.grace_epochs, settings.budget.epochs) == (grace, epochs)
    assert merged_settings([space_of("loss_fn: mse\nstudy: {max_epochs: 2}")], {}).grace_epochs == 2
