"""Names and values of settings in a space file are checked against the settings that its loss has."""

import pytest

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.config.loss_registry import loss_config_class
from losstune.tuning.space.checks import SettingChecks, dotted
from losstune.tuning.space.search_space import MANAGED
from tests.trainer.samples import refusal

FILE = parse_yaml("loss_fn: infonce\nspace:\n  lr: {low: 0.1, high: 1}\n", "space.yaml")


@pytest.fixture
def checks() -> SettingChecks:
    return SettingChecks(FILE, loss_config_class("infonce"), None)


@pytest.mark.parametrize("name", ["lr", "temperature", "model.depth", "batch_size"])
def test_a_setting_of_the_loss_or_of_training_may_stand_anywhere(checks: SettingChecks, name: str) -> None:
    for section in ("space", "fixed", "derived"):
        checks.name(name, section, name)


@pytest.mark.parametrize("name", MANAGED)
def test_what_the_study_sets_can_not_be_searched(checks: SettingChecks, name: str) -> None:
    assert refusal(checks.name, name, "space", name) == (
        f"space.yaml:2: space → {name}: can not stand here: {MANAGED[name]}"
    )


def test_a_name_that_no_setting_has_gets_the_nearest(checks: SettingChecks) -> None:
    found = refusal(checks.name, "temprature", "space", "temprature")
    assert found.startswith("space.yaml:2: space → temprature: ")
    assert "temperature" in found
    assert "cosine_weight" in refusal(checks.name, "cosine_weight", "space", "cosine_weight")


def test_a_value_outside_its_limits_is_refused_with_the_rule(checks: SettingChecks) -> None:
    checks.value("lr", 0.1, "space", "lr", "low")
    assert refusal(checks.value, "lr", 0, "space", "lr", "low") == (
        "space.yaml:3: space → lr → low: found 0; should be greater than 0"
    )


def test_a_batch_below_the_loss_s_rule_is_refused(checks: SettingChecks) -> None:
    checks.value("batch_size", 16, "fixed", "batch_size")
    found = refusal(checks.value, "batch_size", 8, "fixed", "batch_size")
    assert found.startswith("space.yaml")
    assert "16" in found


def test_which_settings_are_whole_numbers(checks: SettingChecks) -> None:
    names = ("batch_size", "model.depth", "lr", "schedule", "center")
    assert [name for name in names if checks.takes_integers(name)] == ["batch_size", "model.depth"]


def test_a_place_in_words() -> None:
    assert dotted(("space", "lr", "choices", 0)) == "space → lr → choices → item 1"
