"""How many rows are scored: a number that is not too small, or all."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from losstune.trainer.config.eval_queries import EvalQueries
from losstune.trainer.config.train_config import TrainConfig
from tests.trainer.samples import refusal

ADAPTER: TypeAdapter[Any] = TypeAdapter(EvalQueries)


@pytest.mark.parametrize("value", [1000, 1024, 10**9, "all"])
def test_a_number_from_1000_or_all_is_taken(value: object) -> None:
    assert ADAPTER.validate_python(value) == value


@pytest.mark.parametrize("value", [999, 0, -1000, 1000.0, True, None, "1000", "none", [1000]])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="should be a whole number of at least 1000, or all"):
        ADAPTER.validate_python(value)


def test_a_config_says_what_it_found_and_what_is_allowed() -> None:
    expected = "eval_queries: found 500; should be a whole number of at least 1000, or all"
    assert refusal(TrainConfig.from_flat, {"eval_queries": 500}) == expected


def test_a_config_that_names_none_scores_all_rows() -> None:
    assert TrainConfig.from_flat({}).eval_queries == "all"
