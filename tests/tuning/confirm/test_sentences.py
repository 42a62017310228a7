"""A comparison in words: whole sentences, for numbers written by hand."""

from typing import Any

import pytest

from losstune.tuning.confirm.findings import TEST_METRICS, ComparedArm, Comparison, GuideClaim, Pair
from losstune.tuning.confirm.sentences import answer_sentences, guide_sentence, interval_text, pair_sentence
from losstune.tuning.confirm.statistics import Difference, Interval

GAP = Difference(value=0.07, low=0.05, high=0.09, p=0.0001, superiority=0.95)
NEAR = Difference(value=0.004, low=-0.01, high=0.018, p=0.4, superiority=0.6)


def row(name: str, role: str = "pick", **changes: Any) -> ComparedArm:
    fields = {
        "name": name,
        "loss": None if role == "baseline" else name.split("-")[0],
        "loss_fn": None if role == "baseline" else name.split("-")[0],
        "role": role,
        "test": dict.fromkeys(TEST_METRICS, Interval(0.331, 0.320, 0.342)),
        "validation": 0.357,
        "search_value": 0.4,
        "optimism": 0.043,
        "gain": {},
        "search_epochs": 810,
        "search_seconds": 60.0,
        "epochs": 810,
        "seconds": 60.0,
        "seeds": 10,
        "geometry": {},
        "flags": [],
        "note": "",
    }
    return ComparedArm.model_validate({**fields, **changes})


def pair(verdict: str = "first", gap: Difference = GAP, **changes: Any) -> Pair:
    fields = {
        "first": "infonce",
        "second": "mse",
        "measure": "mrr",
        "difference": gap,
        "p_adjusted": 0.0004,
        "verdict": verdict,
        "detectable": 0.0123,
        "smaller": 0.01,
        "seeds_needed": 14,
        "seeds": 10,
    }
    return Pair.model_validate({**fields, **changes})


def comparison(**changes: Any) -> Comparison:
    fields = {
        "study": "which",
        "confirmation": 1,
        "created": "2026-01-01T00:00:00Z",
        "data_source": "digits",
        "data_digest": "d" * 64,
        "objective": "val/mrr",
        "measures": ("mrr", "cosine_sim"),
        "seeds": 10,
        "targets": 346,
        "split_given": False,
        "test_uses_before": 0,
        "winner": "infonce",
        "rows": [row("infonce-0007"), row("mse-0002")],
        "pairs": [],
        "ridge": None,
        "over_ridge": None,
        "pareto": ["infonce"],
        "guide": [],
        "failed": {},
        "partings": [],
    }
    return Comparison.model_validate({**fields, **changes})


CHOICE = (
    "infonce (infonce-0007) is the choice: the highest mean val/mrr over 10 fresh seeds, 0.357. "
    "Test MRR 0.331 [0.320, 0.342]"
)
TOO_HIGH = "The search had shown 0.400 for it, 0.043 too high: one seed and one split, and picked for being high."
BEATS = (
    "infonce beats mse on MRR by +0.070 [+0.050, +0.090] over 10 seeds and 346 test targets "
    "(p < 0.001 after Holm, P(infonce > mse) 0.95)."
)


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (Interval(0.3306, 0.3196, 0.3424), 3, False, "0.331 [0.320, 0.342]"),
        (Interval(-0.04, -0.06, 0.02), 3, True, "-0.040 [-0.060, +0.020]"),
        (GAP, 2, True, "+0.07 [+0.05, +0.09]"),
    ],
)
def test_an_interval(value: Interval | Difference, digits: int, signed: bool, text: str) -> None:
    assert interval_text(value, digits, signed=signed) == text


def test_the_winner_comes_first_with_what_the_search_had_promised() -> None:
    assert answer_sentences(comparison(pairs=[pair()])) == [CHOICE + ".", TOO_HIGH, BEATS]


def test_what_stopped_early_is_said_with_its_seeds_and_not_as_a_claim_on_test() -> None:
    rows = [
        row("infonce-0007", optimism=None),
        row("mse-0002", seeds=6, lost_to="infonce-0007"),
        row("cosine-0002", seeds=4, lost_to="infonce-0007"),
        row("mse-start", "start", seeds=4, lost_to="mse-0002"),
    ]
    _, stopped, beats = answer_sentences(comparison(rows=rows, pairs=[pair(seeds=6)]))
    assert stopped == (
        "Clearly beaten on val/mrr, and trained no further: cosine and mse untuned after 4 seeds and mse after 6 seeds."
    )
    assert "over 6 seeds and 346 test targets" in beats


@pytest.mark.parametrize(
    ("optimism", "split_given", "text"),
    [
        (-0.057, False, "0.057 less: that was one seed and one split."),
        (-0.057, True, "0.057 less: that was one seed."),
        (0.043, True, "0.043 too high: one seed, and picked for being high."),
        (0.0004, False, "and that held."),
        (-0.0004, False, "and that held."),
        (0.0, False, "and that held."),
    ],
)
def test_what_the_search_had_shown_was_one_seed_and_one_split_but_where_the_data_has_its_own(
    optimism: float, split_given: bool, text: str
) -> None:
    rows = [row("infonce-0007", search_value=0.3, optimism=optimism)]
    told = answer_sentences(comparison(rows=rows, split_given=split_given))[1]
    assert told == f"The search had shown 0.300 for it, {text}"


def test_the_winner_with_its_gain_and_its_lead_over_ridge() -> None:
    best = row("infonce-0007", gain={"mrr": NEAR, "cosine_sim": GAP})
    (first, *_) = answer_sentences(comparison(rows=[best], ridge=row("ridge", "baseline"), over_ridge=GAP))
    assert first == (
        CHOICE
        + ", +0.004 [-0.010, +0.018] over the loss's untuned start, +0.070 [+0.050, +0.090] over ridge regression."
    )


@pytest.mark.parametrize(
    ("gap", "seeds", "first"),
    [
        (NEAR, 10, True),  # not surely better
        (Difference(-0.07, -0.09, -0.05, 0.0001, 0.0), 10, True),
        (GAP, 10, False),
        (NEAR, 3, False),  # with few seeds the mean decides
        (Difference(-0.07, -0.2, 0.06, 0.4, 0.0), 3, True),
    ],
)
def test_a_winner_that_does_not_beat_ridge_is_said_first(gap: Difference, seeds: int, first: bool) -> None:
    said = answer_sentences(comparison(seeds=seeds, ridge=row("ridge_centered", "baseline"), over_ridge=gap))
    beaten = "does not beat" if gap.value < 0 else "is not shown to beat"
    expected = (
        f"The best loss, infonce, {beaten} ridge regression (ridge_centered) on MRR: "
        f"{interval_text(gap, signed=True)}. Look at the data and the encoder before choosing a loss."
    )
    assert (said[0] == expected) is first
    assert said[int(first)].startswith("infonce (infonce-0007) is the choice")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (pair(), BEATS),
        (
            pair(
                first="mse",
                second="infonce",
                p_adjusted=0.031,
                measure="cosine_sim",
                gap=Difference(0.07, 0.05, 0.09, 0.002, 0.9),
            ),
            "mse beats infonce on cosine similarity by +0.070 [+0.050, +0.090] over 10 seeds and 346 test targets "
            "(p 0.031 after Holm, P(mse > infonce) 0.90).",
        ),
        (
            pair("undecided", NEAR, p_adjusted=0.4),
            "infonce and mse can not be told apart on MRR at this budget (+0.004 [-0.010, +0.018], p 0.400 after Holm, "
            "P(infonce > mse) 0.60); 14 seeds would show a difference of 0.01.",
        ),
        (
            pair("undecided", NEAR, p_adjusted=0.4, seeds_needed=None),
            "infonce and mse can not be told apart on MRR at this budget (+0.004 [-0.010, +0.018], p 0.400 after Holm, "
            "P(infonce > mse) 0.60); a difference of 0.012 would have shown; for one of 0.01 the test targets are too "
            "few, whatever the seeds.",
        ),
        (
            pair("undecided", NEAR, p_adjusted=1.0, smaller=None, seeds_needed=None, detectable=0.0004),
            "infonce and mse can not be told apart on MRR at this budget (+0.004 [-0.010, +0.018], p 1.000 after Holm, "
            "P(infonce > mse) 0.60); a difference of 0.0004 would have shown.",
        ),
        (
            pair("too few seeds", NEAR),
            "infonce − mse on MRR: +0.004 [-0.010, +0.018], too few seeds for a claim.",
        ),
    ],
    ids=["retrieval", "similarity", "undecided", "too few targets", "nothing smaller", "too few seeds"],
)
def test_a_pair(changed: Pair, text: str) -> None:
    assert pair_sentence(changed, comparison()) == text


def test_too_few_seeds_are_said_once_with_the_command_that_goes_on() -> None:
    said = answer_sentences(comparison(seeds=3, pairs=[pair("too few seeds", NEAR)]))
    assert said[2:] == [
        "Too few seeds for a claim: 3, at least 10 are needed. What follows shows the spread; "
        "losstune confirm which --seeds 10 goes on from here.",
        "infonce − mse on MRR: +0.004 [-0.010, +0.018], too few seeds for a claim.",
    ]


def test_a_command_that_is_named_comes_to_the_studys_place() -> None:
    said = answer_sentences(comparison(seeds=3, at=" --storage studies"))
    assert "; losstune confirm which --storage studies --seeds 10 goes on from here." in said[2]


def test_what_is_known_comes_first_the_objective_before_the_rest() -> None:
    pairs = [
        pair("undecided", NEAR, first="cosine", second="mse"),
        pair("first", first="cosine", second="mse", measure="cosine_sim"),
        pair("first", first="cosine", second="mse"),
        pair("first", measure="cosine_sim"),
        pair("undecided", NEAR, second="cosine"),
        pair("first"),
    ]
    starts = [sentence[:40] for sentence in answer_sentences(comparison(pairs=pairs))[2:]]
    assert starts == [
        sentence[:40]
        for sentence in (
            BEATS,
            "cosine beats mse on MRR by +0.070 [+0.050",
            "infonce beats mse on cosine similarity by",
            "cosine beats mse on cosine similarity by ",
            "infonce and cosine can not be told apart ",
            "cosine and mse can not be told apart on M",
        )
    ]


def test_measures_that_disagree_are_said_with_the_pareto_set() -> None:
    pairs = [
        pair("first"),
        pair(first="mse", second="infonce", measure="cosine_sim"),
    ]
    assert answer_sentences(comparison(pairs=pairs, pareto=["mse", "cosine", "infonce"]))[-1] == (
        "The two measures disagree: infonce wins MRR and loses cosine similarity against mse. Optimise what your task "
        "measures. Pareto set (no other loss is known to be better on one and as good on the other): "
        "mse, cosine and infonce."
    )


def test_two_losses_that_win_one_measure_and_lose_the_other() -> None:
    pairs = [pair("first", first=loss, measure="mrr") for loss in ("infonce", "cosine")] + [
        pair("first", first="mse", second=loss, measure="cosine_sim") for loss in ("infonce", "cosine")
    ]
    assert answer_sentences(comparison(pairs=pairs))[-1].startswith(
        "The two measures disagree: cosine and infonce win MRR and lose cosine similarity against mse. "
    )


@pytest.mark.parametrize("second", [pair("first", measure="cosine_sim"), pair("undecided", NEAR, measure="cosine_sim")])
def test_measures_that_agree_or_do_not_oppose_are_no_disagreement(second: Pair) -> None:
    assert not [text for text in answer_sentences(comparison(pairs=[pair(), second])) if "disagree" in text]


def test_a_failed_loss_a_collapsed_one_and_a_used_test_split() -> None:
    rows = [
        row("infonce-0007"),
        row("mse-0002", flags=["collapsed: in 1 of 32", "hubs: few"]),
        row("mse-start", "start"),
    ]
    failed = {"cosine": "10 of 10 runs failed or diverged (diverged)"}
    assert answer_sentences(comparison(rows=rows, failed=failed, test_uses_before=1))[2:] == [
        "cosine is not compared: 10 of 10 runs failed or diverged (diverged).",
        "mse: collapsed: in 1 of 32; hubs: few.",
        "The test split had been used once before by a confirmation on this data: what was chosen after looking at it "
        "is not independent of it.",
    ]
    assert "had been used 3 times before" in answer_sentences(comparison(test_uses_before=3))[-1]


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        (
            {"better": "cosine", "worse": "mse", "metric": "cosine_sim", "at": "tuned", "claimed": (0.05, 0.10)},
            "“cosine gives 5–10 % more cosine similarity than mse”, tuned for val/mrr: measured "
            "+7.2 % [+5.1, +9.3]: held.",
        ),
        (
            {"better": "infonce", "worse": "cosine", "metric": "recall_at_1", "at": "untuned", "claimed": (0.1, 0.2)},
            "“infonce gives 10–20 % more retrieval accuracy (recall@1) than cosine”, untuned: measured "
            "+7.2 % [+5.1, +9.3]: held.",
        ),
    ],
)
def test_a_claim_of_the_guide(claim: dict[str, Any], text: str) -> None:
    measured = GuideClaim(**claim, gain=Interval(0.072, 0.051, 0.093), verdict="held")
    assert guide_sentence(measured, "val/mrr") == text


def test_a_claim_that_failed() -> None:
    claim = {"better": "cosine", "worse": "mse", "metric": "cosine_sim", "at": "tuned", "claimed": (0.05, 0.10)}
    measured = GuideClaim(**claim, gain=Interval(-0.012, -0.03, 0.006), verdict="not held")  # type: ignore[arg-type]
    assert guide_sentence(measured, "val/mrr").endswith("tuned for val/mrr: measured -1.2 % [-3.0, +0.6]: not held.")
