"""Nested settings as flat names."""

from losstune.trainer.config.flat_names import flatten
from tests.trainer.samples import refusal


def test_nested_groups_are_flattened() -> None:
    assert flatten({"lr": 1, "model": {"depth": 0, "dropout": 0.5}, "model.residual": True}) == {
        "lr": 1,
        "model.depth": 0,
        "model.dropout": 0.5,
        "model.residual": True,
    }


def test_a_name_that_stands_twice_is_refused() -> None:
    message = "model.depth stands twice, nested and with a dot"
    assert refusal(flatten, {"model": {"depth": 0}, "model.depth": 1}) == message
