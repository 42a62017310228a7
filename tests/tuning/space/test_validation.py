"""How many validation rows a new study scores its trials on, and the error of an estimate from them."""

import itertools
from typing import Any

import numpy as np
import pytest

from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.data.splits import split_rows
from losstune.tuning.space.feasibility import check_against_data
from losstune.tuning.space.settings import QUERIES
from losstune.tuning.space.validation import Validation, validation, with_queries
from tests.trainer.samples import refusal, sample_arrays
from tests.tuning.samples import CONTINUOUS, settings_of, space_of

SIZES = """
    loss_fn: %s
    space: {batch_size: {choices: [64, %d]}}
"""
IN_BATCH, ROW_BY_ROW = space_of(SIZES % ("infonce", 1500)), space_of(SIZES % ("mse", 2000))


def made(val: int, train: int = 3000) -> Pairs:
    names = np.array(["train"] * train + ["val"] * val + ["test"])
    return make_pairs({**sample_arrays(rows=train + val + 1, width=2, dims=2), "split": names}, "made")


@pytest.mark.parametrize(
    ("spaces", "val", "queries"),
    [
        ([CONTINUOUS], 2048, "all"),
        ([CONTINUOUS], 2049, 1024),
        ([SIZES % ("infonce", 1024)], 3001, 1024),
        ([SIZES % ("infonce", 1500)], 3001, 1500),
        ([SIZES % ("infonce", 1500)], 3000, "all"),
        ([SIZES % ("mse", 1500)], 3001, 1024),
        ([SIZES % ("mse", 1600), SIZES % ("siglip", 1200)], 3001, 1200),
        (["{loss_fn: infonce, fixed: {batch_size: 1300}}"], 3001, 1300),
    ],
)
def test_a_new_study_takes_a_constant_or_what_fills_a_batch_and_all_where_there_are_few_more(
    spaces: list[str], val: int, queries: int | str
) -> None:
    settings = with_queries([space_of(text) for text in spaces], settings_of(), made(val))
    assert settings == settings_of(eval_queries=queries)
    check_against_data([space_of(text) for text in spaces], settings, made(val))


@pytest.mark.parametrize("given", ["all", 1000, 1700])
def test_what_is_given_stands(given: int | str) -> None:
    assert with_queries([IN_BATCH, ROW_BY_ROW], settings_of(eval_queries=given), made(1800)).eval_queries == given


def test_a_number_under_a_batch_of_an_in_batch_loss_is_refused_as_it_would_be_in_training() -> None:
    assert refusal(check_against_data, [IN_BATCH], settings_of(eval_queries=1024), made(1800)) == (
        "space.yaml: batch_size 1500: made: eval_queries 1024 is less than one batch of 1500, and infonce is validated "
        "on whole batches; let space.yaml have no batch_size above 1024, or use --eval_queries 1500 or more"
    )
    check_against_data([ROW_BY_ROW], settings_of(eval_queries=1024), made(1800))


def test_the_rows_and_targets_are_those_of_the_study_s_split() -> None:
    arrays = {name: np.concatenate([array] * 2) for name, array in sample_arrays(rows=4000).items()}
    pairs = make_pairs(arrays, "made")
    rows = len(split_rows(pairs, 5).val)
    assert validation(settings_of(eval_queries=1200, seed=5), pairs) == Validation(1200, rows, rows // 2)
    assert validation(settings_of(seed=5), pairs) == Validation(rows, rows, rows // 2)


def every_sample_s_error(values: list[float], queries: int) -> float:
    """Root mean square over all samples of the deviation of their mean."""
    samples: Any = list(itertools.combinations(values, queries))
    return float(np.sqrt(np.mean((np.mean(samples, axis=1) - np.mean(values)) ** 2)))


def test_no_values_have_a_larger_error_and_the_most_spread_ones_have_it() -> None:
    one = Validation(queries=3, rows=8, targets=8)
    assert every_sample_s_error([0, 1] * 4, 3) == pytest.approx(one.standard_error("val/recall_at_1"))
    assert every_sample_s_error([-1, 1] * 4, 3) == pytest.approx(one.standard_error("val/cosine_sim"))
    ranks = [1 / rank for rank in (1, 1, 2, 3, 10, 100, 1, 5)]
    assert every_sample_s_error(ranks, 3) < one.standard_error("val/mrr")


def test_of_all_rows_there_is_no_error() -> None:
    assert Validation(8, 8, 3).standard_error("val/mrr") == Validation(1, 1, 1).standard_error("val/mrr") == 0


def test_the_constant_leaves_little_more_than_a_hundredth() -> None:
    assert Validation(QUERIES, 10**9, 10**9).standard_error("val/mrr") == pytest.approx(1 / 64)
