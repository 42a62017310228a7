"""The answer in a few lines: what it says, in which order, and that it fits a small terminal."""

import math
from typing import Any

import pytest

from losstune.tuning.confirm.findings import Comparison
from losstune.tuning.confirm.short_answer import MARK, short_answer
from losstune.tuning.confirm.statistics import Difference
from tests.tuning.confirm.test_sentences import GAP, NEAR, comparison, pair, row

CHOICE = "infonce (infonce-0007) is the choice: test MRR 0.331 [0.320, 0.342] over 10 fresh seeds."


def lines(told: list[str]) -> int:
    return sum(math.ceil(len(MARK + sentence) / 80) for sentence in told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"pairs": [pair()]}, ["On MRR it beats mse by 0.070 (p < 0.05 after Holm)."]),
        ({"pairs": [pair(verdict="undecided", gap=NEAR)]}, ["On MRR it can not be told apart from mse."]),
        (
            {"pairs": [pair(), pair(first="mse", second="infonce", measure="cosine_sim")]},
            [
                "On MRR it beats mse by 0.070 (p < 0.05 after Holm).",
                "On cosine similarity it loses to mse by 0.070 (p < 0.05 after Holm).",
            ],
        ),
        (
            {"pairs": [pair(first="mse", second="infonce")]},
            ["On MRR it loses to mse by 0.070 (p < 0.05 after Holm)."],
        ),
        ({"pairs": [pair(first="mse", second="huber")]}, []),
        (
            {
                "rows": [
                    row("infonce-0007"),
                    row("mse-0002", seeds=6, lost_to="infonce-0007"),
                    row("mse-start", "start", seeds=4, lost_to="infonce-0007"),
                ]
            },
            ["Clearly beaten on val/mrr, and trained no further: mse after 6 seeds."],
        ),
        ({"failed": {"huber": "diverged", "mse": "diverged"}}, ["Not compared: huber and mse."]),
        ({"rows": [row("infonce-0007", flags=["collapsed"])]}, ["Signs of a bad embedding: infonce."]),
        (
            {"test_uses_before": 2},
            ["The test split had been used before, so it is not independent of what was chosen since."],
        ),
    ],
)
def test_the_choice_comes_first_then_where_it_stands(changes: dict[str, Any], told: list[str]) -> None:
    assert short_answer(comparison(**changes)) == [CHOICE, *told]


def test_what_tuning_gained_stands_with_the_choice() -> None:
    found = short_answer(comparison(rows=[row("infonce-0007", gain={"mrr": GAP})]))
    assert found == [f"{CHOICE[:-1]}, +0.070 over its untuned start."]


def test_too_few_seeds_and_a_ridge_that_is_not_beaten_are_said() -> None:
    below = Difference(value=-0.05, low=-0.07, high=-0.03, p=0.0001, superiority=0.0)
    few = comparison(seeds=2, pairs=[pair(verdict="too few seeds")], ridge=row("ridge", "baseline"), over_ridge=below)
    told = short_answer(few)
    assert [sentence.partition(":")[0] for sentence in told] == [
        "The best loss, infonce, does not beat ridge regression (ridge) on MRR",
        "infonce (infonce-0007) is the choice",
        "Too few seeds for a claim",
    ]
    assert lines(told) <= 8


def worst_case() -> Comparison:
    losses = [f"a_loss_with_a_long_name_{number}" for number in range(12)]
    pairs = [pair(second=loss, verdict="first" if number % 2 else "undecided") for number, loss in enumerate(losses)]
    pairs += [pair(first=loss, second="infonce", measure="cosine_sim") for loss in losses]
    return comparison(
        pairs=pairs,
        failed=dict.fromkeys(losses, "diverged"),
        ridge=row("ridge_centered", "baseline"),
        over_ridge=Difference(value=-0.05, low=-0.07, high=-0.03, p=0.0001, superiority=0.0),
        test_uses_before=3,
    )


def test_it_never_takes_more_than_eight_lines_of_eighty_columns() -> None:
    told = short_answer(worst_case())
    assert lines(told) <= 8
    assert [sentence.partition(" ")[0] for sentence in told[:2]] == ["The", "infonce"]
