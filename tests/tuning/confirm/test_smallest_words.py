"""What is said of the smallest setting: whole sentences, for numbers written by hand."""

import math
from typing import Any

import pytest

from losstune.tuning.confirm.findings import Comparison, Smallest
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.confirm.short_answer import MARK, short_answer
from losstune.tuning.confirm.smallest_words import share_text, short_smallest, smallest_sentence
from losstune.tuning.confirm.statistics import Difference, Interval
from tests.tuning.confirm.test_cost import COST
from tests.tuning.confirm.test_sentences import comparison, pair, row

LARGE = COST.model_copy(update={"parameters": 4000})
EQUAL = Difference(-0.004, -0.012, 0.004, 0.3, 0.3)
WORSE = Difference(-0.008, -0.014, -0.002, 0.01, 0.1)


def small(**changes: Any) -> Smallest:
    fields = {
        "name": "mse-0002",
        "loss": "mse",
        "loss_fn": "mse",
        "measure": "mrr",
        "margin": 0.02,
        "share": 0.25,
        "whole_dims": 32,
        "difference": EQUAL,
        "p": 0.0012,
        "verdict": "as good",
        "test": Interval(0.327, 0.31, 0.34),
        "validation": 0.35,
        "cost": COST,
    }
    return Smallest.model_validate({**fields, **changes})


def told_of(found: Smallest | None, **changes: Any) -> Comparison:
    return comparison(rows=[row("infonce-0007", cost=LARGE), row("mse-0002", cost=COST)], smallest=found, **changes)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            small(),
            "mse-0002, with 25 % of the parameters (1,000), can not be told apart from infonce-0007: "
            "-0.004 [-0.012, +0.004] in MRR, within ±0.02 (p 0.001, two one-sided tests).",
        ),
        (
            small(difference=WORSE, p=0.0001, share=0.034),
            "mse-0002, with 3.4 % of the parameters (1,000), is as good as infonce-0007: "
            "-0.008 [-0.014, -0.002] in MRR, within ±0.02 (p < 0.001, two one-sided tests).",
        ),
        (
            small(verdict="not shown", p=0.31, margin=0.005),
            "mse-0002, with 25 % of the parameters (1,000), came within 0.005 of infonce-0007 in validation, and is "
            "not shown to be as good on the test split: -0.004 [-0.012, +0.004] in MRR, not within ±0.005 (p 0.310, "
            "two one-sided tests).",
        ),
        (
            small(verdict="too few seeds"),
            "mse-0002, with 25 % of the parameters (1,000), came within 0.02 of infonce-0007 in validation: "
            "-0.004 [-0.012, +0.004] in MRR, too few seeds for a claim.",
        ),
        (
            small(name="infonce-0007", share=1.0, cost=LARGE.model_copy(update={"dims": 8})),
            "infonce-0007 cut to 8 of 32 dimensions can not be told apart from infonce-0007: "
            "-0.004 [-0.012, +0.004] in MRR, within ±0.02 (p 0.001, two one-sided tests).",
        ),
        (
            small(cost=COST.model_copy(update={"dims": 8})),
            "mse-0002 cut to 8 of 32 dimensions, with 25 % of the parameters (1,000), can not be told apart from "
            "infonce-0007: -0.004 [-0.012, +0.004] in MRR, within ±0.02 (p 0.001, two one-sided tests).",
        ),
    ],
    ids=["equal", "worse, within the margin", "not shown", "too few seeds", "cut", "cut and of fewer parameters"],
)
def test_the_smallest(found: Smallest, text: str) -> None:
    assert smallest_sentence(told_of(found)) == [text]
    assert answer_sentences(told_of(found))[2] == text


@pytest.mark.parametrize(
    ("sought", "more"),
    [
        (True, "."),
        (False, "; to try the cheapest of the search: losstune confirm which --seeds 10 --smallest --margin 0.01."),
    ],
)
def test_where_none_came_near_that_is_said_with_what_would_find_one(sought: bool, more: str) -> None:
    assert smallest_sentence(told_of(None, margin=0.01, smallest_sought=sought)) == [
        "Nothing confirmed that is smaller than the choice's 4,000 parameters and 32 dimensions came within 0.01 of it "
        f"in validation{more}"
    ]


def test_the_command_that_would_find_one_comes_to_the_studys_place() -> None:
    (told,) = smallest_sentence(told_of(None, at=" --storage studies"))
    assert told.endswith(
        "; to try the cheapest of the search: losstune confirm which --storage studies --seeds 10 --smallest."
    )


def test_nothing_is_said_of_a_confirmation_of_before() -> None:
    assert smallest_sentence(comparison()) == []


def test_the_short_answer_has_it_where_it_holds_and_keeps_its_eight_lines() -> None:
    short = "mse-0002 is as good with 25 % of the parameters: -0.004 [-0.012, +0.004], within ±0.02."
    assert short_smallest(told_of(small())) == [short]
    cut = small(share=1.0, cost=COST.model_copy(update={"dims": 8}))
    assert short_smallest(told_of(cut)) == [
        "mse-0002 cut to 8 of 32 dimensions is as good: -0.004 [-0.012, +0.004], within ±0.02."
    ]
    assert short_answer(told_of(small(), pairs=[pair()]))[1] == short
    for verdict in ("not shown", "too few seeds"):
        assert short_smallest(told_of(small(verdict=verdict))) == []
    assert short_smallest(told_of(None)) == []
    crowded = short_answer(told_of(small(), pairs=[pair(second="m" * 40), pair("undecided", second="n" * 90)]))
    assert sum(math.ceil(len(MARK + sentence) / 80) for sentence in crowded) <= 8


@pytest.mark.parametrize(("share", "text"), [(0.253, "25 %"), (0.996, "100 %"), (0.1, "10 %"), (0.0341, "3.4 %")])
def test_a_share_of_the_parameters(share: float, text: str) -> None:
    assert share_text(share) == text
