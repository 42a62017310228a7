"""What a parameter's keys mean: a range, or choices."""

from typing import Any

import pytest

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.config.loss_registry import loss_config_class
from losstune.tuning.space.checks import SettingChecks
from losstune.tuning.space.domains import MAX_INT, read_domain
from losstune.tuning.space.search_space import Choices, Domain, Range
from tests.trainer.samples import refusal


def read(name: str, **spec: Any) -> Domain:
    checks = SettingChecks(parse_yaml("loss_fn: mse", "space.yaml"), loss_config_class("mse"), None)
    return read_domain(name, spec, checks)


@pytest.mark.parametrize(
    ("name", "spec", "domain"),
    [
        ("lr", {"low": 1e-4, "high": 1e-2}, Range(1e-4, 1e-2)),
        ("lr", {"low": 1e-4, "high": 1e-2, "log": True}, Range(1e-4, 1e-2, log=True)),
        ("model.dropout", {"low": 0, "high": 0.5, "step": 0.1}, Range(0, 0.5, step=0.1)),
        ("batch_size", {"low": 16, "high": 64, "int": True}, Range(16, 64, integer=True)),
        ("schedule", {"choices": ["constant", "cosine"]}, Choices(("constant", "cosine"))),
        ("clip_norm", {"choices": [None, 1.0]}, Choices((None, 1.0))),
    ],
)
def test_what_is_read(name: str, spec: dict[str, Any], domain: Domain) -> None:
    assert read(name, **spec) == domain


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("lr", {"low": 0.1}, "lr: high is missing; a range is {low, high}, a list is {choices}"),
        ("lr", {"low": 0.1, "high": 0.01}, "lr: low 0.1 is more than high 0.01"),
        ("lr", {"low": True, "high": 1}, "lr → low: found True; expected a number"),
        ("lr", {"low": 0.1, "high": 1, "max": 2}, "lr → max: unknown key; allowed: choices, or low, high, log"),
        ("lr", {"low": 0.1, "high": 1, "log": "yes"}, "lr → log: found 'yes'; expected true or false"),
        ("lr", {"low": 0.1, "high": 1, "step": 1e-9}, "lr → step: found 1e-09; gives more than 100,000 values"),
        (
            "weight_decay",
            {"low": 0, "high": 1, "log": True},
            "weight_decay → low: low is 0; a log range starts above 0",
        ),
        ("batch_size", {"low": 16, "high": 64}, "batch_size: takes whole numbers: add int: true, or list choices"),
        ("batch_size", {"low": 16, "high": MAX_INT * 2, "int": True}, "batch_size: an int range lies within ±"),
        ("lr", {"choices": [0.1, -1]}, "lr → choices → item 2: found -1; should be greater than 0"),
        ("lr", {"choices": [0.1, 0.1]}, "lr → choices: the choice 0.1 stands twice"),
        ("lr", {"choices": [0.1], "log": True}, "lr: has choices and log; choices stand alone"),
    ],
)
def test_what_is_refused(name: str, spec: dict[str, Any], message: str) -> None:
    found = refusal(read, name, **spec)
    assert found.startswith("space.yaml")
    assert f"space → {message}" in found
