"""A run of one space at the point of another that trains as it did; what no point trains like does not fit."""

from typing import Any

import pytest

from losstune.tuning.space.carried_over import MisfitError, carried_over
from losstune.tuning.space.reader import load_space, shipped_names
from losstune.tuning.space.search_space import Point, typical_point
from tests.tuning.samples import space_of

HERE = """
    loss_fn: cosine_mse
    space:
      cosine_weight: {low: 0.0, high: 1.0}
      batch_size: {choices: [16, 32]}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 0, high: 4, int: true, when: {schedule: cosine}}
      model.dropout: {low: 0.0, high: 0.4, step: 0.1}
      center: {choices: [false, true]}
    derived: {mse_weight: 1 - cosine_weight}
    fixed: {weight_decay: 0.01}
"""
RUN: dict[str, Any] = {
    "cosine_weight": 0.7,
    "mse_weight": 0.3,
    "batch_size": 32,
    "schedule": "cosine",
    "warmup_epochs": 2,
    "model.dropout": 0.3,
    "center": True,
    "weight_decay": 0.01,
}


def carried(**changes: Any) -> Point:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    lines = "\n".join(f"  {name}: {str(value).lower()}" for name, value in {**RUN, **named}.items())
    there = space_of(f"loss_fn: cosine_mse\nfixed:\n{lines}")
    return carried_over(there.train_config({}).flat(), space_of(HERE))


def test_what_the_other_space_fixes_is_a_value_here() -> None:
    point = carried()
    assert point == {name: RUN[name] for name in RUN if name not in ("mse_weight", "weight_decay")}
    assert type(point["center"]) is bool


def test_a_point_has_no_parameter_that_is_not_active() -> None:
    point = carried(schedule="constant", warmup_epochs=0)
    assert "warmup_epochs" not in point


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"batch_size": 64}, r"batch_size 64, here 16 \| 32"),
        ({"model__dropout": 0.35}, r"model.dropout 0.35, here 0 … 0.4, step 0.1"),
        ({"weight_decay": 0.02}, r"weight_decay 0.02, here 0.01"),
        ({"mse_weight": 0.31}, r"mse_weight 0.31, here 0.3"),
        ({"schedule": "constant"}, r"warmup_epochs 2, here 0"),
        ({"model__depth": 1}, r"model.depth 1, here 2"),
    ],
)
def test_what_no_point_trains_like_does_not_fit(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(MisfitError, match=why):
        carried(**changes)


def test_a_parameter_that_the_other_space_did_not_know_has_its_default() -> None:
    there = space_of("loss_fn: mse\nspace: {lr: {low: 1e-4, high: 1e-2}}")
    here = space_of("loss_fn: mse\nspace: {lr: {low: 1e-4, high: 1e-2}, model.depth: {choices: [0, 1, 2]}}")
    assert carried_over(there.train_config({"lr": 1e-3}).flat(), here) == {"lr": 1e-3, "model.depth": 2}


def test_another_loss_does_not_fit() -> None:
    there = space_of("loss_fn: mse\nspace: {lr: {low: 1e-4, high: 1e-2}}")
    here = space_of("loss_fn: cosine\nspace: {lr: {low: 1e-4, high: 1e-2}}")
    with pytest.raises(MisfitError, match="loss_fn mse, here cosine"):
        carried_over(there.train_config({"lr": 1e-3}).flat(), here)


@pytest.mark.parametrize("name", shipped_names())
def test_a_space_carries_its_own_points_over_as_they_are(name: str) -> None:
    space = load_space(name)
    for point in (typical_point(space), *space.start):
        assert carried_over(space.train_config(point).flat(), space) == point
