"""A space that grew: each point of before is one of it still and trains alike; what else changed breaks a rule."""

from typing import Any

import pytest

from losstune.tuning.space.growth import Change, growth
from losstune.tuning.space.search_space import SearchSpace
from tests.tuning.samples import space_of

BEFORE = """
    loss_fn: cosine_mse
    space:
      lr: {low: 1.0e-4, high: 1.0e-2, log: true}
      batch_size: {choices: [16, 32]}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 4, int: true, when: {schedule: cosine}}
      model.dropout: {low: 0.1, high: 0.4, step: 0.1}
    derived: {mse_weight: lr * 10}
    fixed: {weight_decay: 0.01, model.depth: 1}
"""
LR = "1.0e-4, high: 1.0e-2, log: true}"
KINDS, DERIVED = "a range stays a range, choices stay choices", "what is derived stays so"
AMONG = "what all trials had is to be among the values of a new parameter"


def changed(*replaced: tuple[str, str]) -> SearchSpace:
    text = BEFORE
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return space_of(text)


def test_the_same_space_has_not_changed() -> None:
    own = growth(space_of(BEFORE), changed(("{choices: [16, 32]}", "\n        choices: [16, 32]")))
    assert (own.changes, own.added) == ({}, {})


@pytest.mark.parametrize(
    ("old", "new", "name", "before", "now"),
    [
        (LR, "1.0e-5, high: 0.1, log: true}", "lr", "0.0001 … 0.01, log", "1e-05 … 0.1, log"),
        ("[16, 32]", "[64, 32, 16]", "batch_size", "16 | 32", "64 | 32 | 16"),
        ("[16, 32]", "[32, 16]", "batch_size", "16 | 32", "32 | 16"),
        (
            "high: 4, int",
            "high: 9, int",
            "warmup_epochs",
            "whole numbers 1 … 4 when schedule is cosine",
            "whole numbers 1 … 9 when schedule is cosine",
        ),
        ("low: 0.1, high: 0.4", "low: 0.0, high: 0.55", "model.dropout", "0.1 … 0.4, step 0.1", "0 … 0.55, step 0.1"),
    ],
)
def test_more_choices_and_wider_ranges_of_a_kind_are_growth(
    old: str, new: str, name: str, before: str, now: str
) -> None:
    own = growth(space_of(BEFORE), changed((old, new)))
    assert own.changes == {name: Change(before, now, "")}


@pytest.mark.parametrize(
    ("old", "new", "name", "rule"),
    [
        (LR, "1.0e-3, high: 1.0e-1, log: true}", "lr", "a range may become wider, not narrower"),
        (LR, "1.0e-4, high: 9.0e-3, log: true}", "lr", "a range may become wider, not narrower"),
        (LR, "1.0e-4, high: 1.0e-2}", "lr", "log, int and step stay"),
        (LR, "1.0e-4, high: 1.0e-2, step: 1.0e-4}", "lr", "log, int and step stay"),
        ("step: 0.1", "step: 0.05", "model.dropout", "log, int and step stay"),
        ("low: 0.1, high: 0.4", "low: 0.05, high: 0.4", "model.dropout", "a range with steps grows by whole steps"),
        ("low: 1, high: 4, int: true", "choices: [1, 2, 3, 4]", "warmup_epochs", KINDS),
        ("{choices: [16, 32]}", "{low: 16, high: 32, int: true}", "batch_size", KINDS),
        ("[16, 32]", "[16, 64]", "batch_size", "choices may come, none may go"),
        ("{schedule: cosine}", "{schedule: [cosine, constant]}", "warmup_epochs", "a condition stays"),
        (", when: {schedule: cosine}", "", "warmup_epochs", "a condition stays"),
        ("batch_size: {choices: [16, 32]}", "", "batch_size", "what is searched stays so"),
        ("derived: {mse_weight: lr * 10}", "  mse_weight: {low: 0.0, high: 2.0}", "mse_weight", DERIVED),
    ],
)  # fmt: skip
def test_what_did_not_only_grow_breaks_a_rule(old: str, new: str, name: str, rule: str) -> None:
    own = growth(space_of(BEFORE), changed((old, new)))
    assert {loss: change.rule for loss, change in own.changes.items()} == {name: rule}


def test_a_parameter_that_is_gone_is_not_searched() -> None:
    own = growth(space_of(BEFORE), changed(("batch_size: {choices: [16, 32]}", "")))
    assert own.changes["batch_size"].now == "not searched"


NEW = "batch_size: {choices: [16, 32]}"


def with_new(spec: str, fixed: str = "weight_decay: 0.01, ") -> SearchSpace:
    return changed((NEW, f"{NEW}\n      {spec}"), ("weight_decay: 0.01, ", fixed))


@pytest.mark.parametrize(
    ("spec", "fixed", "name", "before", "value"),
    [
        ("patience: {choices: [null, 5]}", "weight_decay: 0.01, ", "patience", "None, its default,", None),
        ("weight_decay: {low: 0.0, high: 0.1}", "", "weight_decay", "fixed at 0.01", 0.01),
        ("center: {choices: [true, false]}", "weight_decay: 0.01, ", "center", "False, its default,", False),
    ],
)
def test_a_new_parameter_has_what_all_points_had(spec: str, fixed: str, name: str, before: str, value: Any) -> None:
    own = growth(space_of(BEFORE), with_new(spec, fixed))
    assert {own: (change.before, change.rule) for own, change in own.changes.items()} == {name: (before, "")}
    assert own.added == {name: value}


@pytest.mark.parametrize(
    ("spec", "fixed", "rule"),
    [
        ("weight_decay: {low: 0.1, high: 0.2}", "", AMONG),
        ("patience: {choices: [5, 9]}", "weight_decay: 0.01, ", AMONG),
    ],
)  # fmt: skip
def test_a_new_parameter_without_what_points_had_breaks_a_rule(spec: str, fixed: str, rule: str) -> None:
    own = growth(space_of(BEFORE), with_new(spec, fixed))
    assert [change.rule for change in own.changes.values()] == [rule]


def test_what_was_fixed_can_not_come_under_a_condition() -> None:
    """Where the condition does not hold it would be at its default, which is another value."""
    last = "model.dropout: {low: 0.1, high: 0.4, step: 0.1}"
    new = f"{last}\n      weight_decay: {{low: 0.0, high: 0.1, when: {{schedule: cosine}}}}"
    own = growth(space_of(BEFORE), changed((last, new), ("weight_decay: 0.01, ", "")))
    assert own.changes["weight_decay"].rule == "what was fixed takes no condition"


def test_points_of_before_train_alike() -> None:
    before = space_of(BEFORE)
    last = "model.dropout: {low: 0.1, high: 0.4, step: 0.1}"
    more = "weight_decay: {low: 0.0, high: 0.1}\n      patience: {choices: [5, null], when: {schedule: cosine}}"
    now = changed((LR, "1.0e-6, high: 1.0, log: true}"), (last, f"{last}\n      {more}"), ("weight_decay: 0.01, ", ""))
    own = growth(before, now)
    assert all(not change.rule for change in own.changes.values())
    point = {"lr": 3e-4, "batch_size": 16, "schedule": "constant", "model.dropout": 0.2}
    waiting = {**point, "schedule": "cosine", "warmup_epochs": 2}
    for was in (point, waiting):
        assert now.train_config(own.point(was)) == before.train_config(was)
    assert own.point(point) == point | {"weight_decay": 0.01}
    assert own.point(waiting) == waiting | {"weight_decay": 0.01, "patience": None}
