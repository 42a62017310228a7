"""What a comparison claims, from scores whose true effects are known; without Ray."""

import itertools
import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.compare import (
    build_comparison,
    compare,
    compare_losses,
    pareto,
)
from losstune.tuning.confirm.findings import TEST_METRICS, Comparison, Pair
from losstune.tuning.confirm.plan import Plan, save_plan
from losstune.tuning.confirm.results import ArmResult, Results, Scores, save_results
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.confirm.short_answer import short_answer
from losstune.tuning.confirm.statistics import difference, holm
from losstune.tuning.show.comparison import ordered_rows, tuning_table
from losstune.tuning.show.table import NONE
from losstune.tuning.space.feasibility import load_spaces
from losstune.tuning.space.merged import merged_settings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, create_study
from tests.conftest import Command

MEASURES = ("mrr", "cosine_sim")
SIGNS = {"effective_rank": [9.0], "hubness": [0.5], "alignment": [0.5], "uniformity": [-2.0]}
SEEDS, TARGETS = 10, 80


def noisy(level: float, name: str, seeds: int = SEEDS, targets: int = TARGETS, noise: float = 0.01) -> "np.ndarray":
    """(S, T) scores: a level, what seeds and targets add alike to all arms, and noise of this arm's own.

    Centred by row and by column, so that the level is the sample's mean: effects are what the test says they are.
    """
    common = np.random.default_rng(0)
    shared = common.normal(0, 0.02, (seeds, 1)) + common.normal(0, 0.1, (1, targets))
    own = np.random.default_rng(list(name.encode())).normal(0, noise, (seeds, targets))
    scores = shared + own
    return np.asarray(scores - scores.mean() + level)


def scores_of(mrr: float, cosine_sim: float, name: str, **shape: float) -> Scores:
    levels = {"mrr": mrr, "cosine_sim": cosine_sim, "mse": 0.1}
    return {metric: noisy(levels.get(metric, mrr), name + metric, **shape) for metric in TEST_METRICS}  # type: ignore[arg-type]


def verdicts(pairs: list[Pair]) -> dict[tuple[str, str, str], str]:
    return {(pair.first, pair.second, pair.measure): pair.verdict for pair in pairs}


# Pairs


def test_clear_effects_are_claimed_the_better_loss_first() -> None:
    scores = {"mse": scores_of(0.2, 0.8, "a"), "cosine": scores_of(0.3, 0.7, "b")}
    pairs = compare_losses(scores, MEASURES, SEEDS)
    assert verdicts(pairs) == {("cosine", "mse", "mrr"): "first", ("mse", "cosine", "cosine_sim"): "first"}
    for pair in pairs:
        assert pair.difference.value == pytest.approx(0.1)
        assert pair.difference.low < 0.1 < pair.difference.high
        assert pair.p_adjusted < 0.05
        assert pair.difference.superiority == 1.0


def test_equal_losses_are_undecided_and_say_how_many_seeds_would_do() -> None:
    """Every cell differs by its own noise alone, and not at all in the mean: more seeds help."""
    scores = {"mse": scores_of(0.3, 0.7, "a", noise=0.05), "cosine": scores_of(0.3, 0.7, "b", noise=0.05)}
    for pair in compare_losses(scores, MEASURES, SEEDS):
        assert (pair.verdict, pair.difference.value) == ("undecided", pytest.approx(0, abs=1e-12))
        assert pair.smaller is not None
        assert pair.smaller < pair.detectable
        assert pair.seeds_needed is not None
        assert SEEDS < pair.seeds_needed <= 200


def test_where_targets_are_too_few_no_number_of_seeds_helps() -> None:
    """The losses differ by target, up and down, and hardly otherwise."""
    by_target = np.random.default_rng(5).normal(0, 0.3, (1, 20))
    one = scores_of(0.3, 0.7, "a", targets=20, noise=0.001)
    other = {metric: values + by_target - by_target.mean() for metric, values in one.items()}
    other = {metric: values + noisy(0, "x", targets=20, noise=0.001) for metric, values in other.items()}
    for pair in compare_losses({"mse": one, "cosine": other}, MEASURES, SEEDS):
        assert (pair.verdict, pair.seeds_needed) == ("undecided", None)


@pytest.mark.parametrize(("seeds", "verdict"), [(2, "too few seeds"), (9, "too few seeds"), (10, "first")])
def test_no_claim_with_fewer_than_ten_seeds(seeds: int, verdict: str) -> None:
    scores = {"mse": scores_of(0.2, 0.6, "a", seeds=seeds), "cosine": scores_of(0.3, 0.7, "b", seeds=seeds)}
    assert {pair.verdict for pair in compare_losses(scores, MEASURES, seeds)} == {verdict}


def test_a_single_seed_is_refused_before_anything_is_trained(losstune: Command) -> None:
    """It has no spread: after its training, and its look at the test split, nothing could be said."""
    ended = losstune("confirm", "study", "--seeds", "1")
    assert ended.code == 2
    assert "--seeds" in ended.err


def test_holm_is_over_all_pairs_and_both_measures() -> None:
    levels = {"a": (0.300, 0.700), "b": (0.302, 0.701), "c": (0.301, 0.704), "d": (0.306, 0.7005)}
    scores = {loss: scores_of(*level, loss, noise=0.03) for loss, level in levels.items()}
    pairs = compare_losses(scores, MEASURES, SEEDS)
    assert len(pairs) == 12
    assert [pair.p_adjusted for pair in pairs] == holm([pair.difference.p for pair in pairs])
    assert [pair.verdict for pair in pairs] == ["first" if pair.p_adjusted < 0.05 else "undecided" for pair in pairs]
    raw = [pair for pair in pairs if pair.difference.p < 0.05]
    assert len(raw) > sum(pair.verdict == "first" for pair in pairs) > 0, "the correction decides nothing here"


@pytest.mark.parametrize("spent", [0.0, 0.01])
def test_a_difference_that_would_have_shown_does_show(spent: float) -> None:
    """Corrected as claims are: else one is told that so much would have shown, of a larger difference that did not."""
    scores = {loss: scores_of(0.3, 0.7, loss, noise=0.03) for loss in "abcd"}
    pairs = compare_losses(scores, MEASURES, SEEDS, spent)
    assert {pair.verdict for pair in pairs} == {"undecided"}
    for pair in pairs:
        one, other = scores[pair.first], scores[pair.second]
        ahead = one[pair.measure] - one[pair.measure].mean() + other[pair.measure].mean() + pair.detectable
        # At worst Holm asks this much of one pair among twelve.
        assert difference(ahead, other[pair.measure]).p < (0.05 - spent) / len(pairs)


def test_losses_are_compared_on_the_seeds_that_both_have() -> None:
    """One that stopped after four seeds, which were good ones for all: on those it is the worse one."""
    whole, other = scores_of(0.3, 0.7, "a"), scores_of(0.25, 0.65, "b")
    easy = {metric: values + np.where(np.arange(SEEDS) < 4, 0.15, -0.1)[:, None] for metric, values in whole.items()}
    short = {metric: values[:4] + 0.15 for metric, values in other.items()}
    assert short["mrr"].mean() > easy["mrr"].mean()
    for order in (("mse", "cosine"), ("cosine", "mse")):
        scores = {loss: {"mse": short, "cosine": easy}[loss] for loss in order}
        for pair in compare_losses(scores, MEASURES, SEEDS):
            assert (pair.first, pair.second, pair.seeds, pair.verdict) == ("cosine", "mse", 4, "first")
            assert pair.difference == difference(easy[pair.measure][:4], short[pair.measure])
            assert pareto(scores, [pair], MEASURES) == ["cosine"]


def test_what_the_looks_may_spend_is_not_there_for_claims() -> None:
    scores = {loss: scores_of(*level, loss) for loss, level in {"a": (0.3, 0.7), "b": (0.303, 0.7)}.items()}
    plain, spent = (compare_losses(scores, MEASURES, SEEDS, spent) for spent in (0.0, 0.01))
    assert [after.p_adjusted for after in spent] == pytest.approx([min(1.0, p.p_adjusted / 0.8) for p in plain])
    assert [before.difference for before in plain] == [after.difference for after in spent]


def test_the_order_of_the_losses_is_nothing_to_it() -> None:
    levels = {"a": (0.30, 0.70), "b": (0.31, 0.69), "c": (0.299, 0.75)}
    scores = {loss: scores_of(*level, loss) for loss, level in levels.items()}
    expected = {(p.first, p.second, p.measure): p for p in compare_losses(scores, MEASURES, SEEDS)}
    for order in itertools.permutations(scores):
        found = compare_losses({loss: scores[loss] for loss in order}, MEASURES, SEEDS)
        assert {(p.first, p.second, p.measure): p for p in found} == expected


def test_swapped_arms_swap_sign_and_limits() -> None:
    a, b = noisy(0.3, "a"), noisy(0.31, "b")
    there, back = difference(a, b), difference(b, a)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert (there.p, there.superiority) == pytest.approx((back.p, 1 - back.superiority))


def equal_losses(rng: np.random.Generator) -> dict[str, Scores]:
    """Four losses without a true difference; seeds, targets and losses all have effects of their own."""
    seeds, targets = rng.normal(0, 0.02, (10, 1)), rng.normal(0, 0.2, (1, 60))

    def one() -> "np.ndarray":
        own = rng.normal(0, 0.02, (10, 1)) + rng.normal(0, 0.05, (1, 60)) + rng.normal(0, 0.1, (10, 60))
        return np.asarray(0.4 + seeds + targets + own)

    return {loss: {measure: one() for measure in MEASURES} for loss in "abcd"}


def test_of_equal_losses_any_claim_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    studies = 300
    monkeypatch.setattr("losstune.tuning.confirm.compare.difference", partial(difference, resamples=500))
    monkeypatch.setattr(
        "losstune.tuning.confirm.compare.seeds_needed", lambda *_, **__: None
    )  # it claims nothing, and takes long
    rng = np.random.default_rng(2026)
    wrong = sum(
        any(pair.verdict == "first" for pair in compare_losses(equal_losses(rng), MEASURES, 10)) for _ in range(studies)
    )
    assert wrong / studies <= 0.06 + 3 * math.sqrt(0.06 * 0.94 / studies)


# Pareto


def flat(mrr: float, cosine_sim: float) -> Scores:
    return {"mrr": np.full((10, 4), mrr), "cosine_sim": np.full((10, 4), cosine_sim)}


A, B, C = flat(0.3, 0.7), flat(0.2, 0.8), flat(0.1, 0.6)


def pair(first: str, second: str, measure: str, verdict: str) -> Pair:
    nothing = difference(noisy(0.3, first), noisy(0.3, second), resamples=20)
    return Pair(
        first=first,
        second=second,
        measure=measure,
        difference=nothing,
        p_adjusted=0.01,
        verdict=verdict,  # type: ignore[arg-type]
        detectable=0.1,
        smaller=None,
        seeds_needed=None,
        seeds=10,
    )


@pytest.mark.parametrize(
    ("scores", "pairs", "expected"),
    [
        ({"a": A}, [], ["a"]),
        ({"a": A, "b": B}, [pair("a", "b", "mrr", "first"), pair("b", "a", "cosine_sim", "first")], ["a", "b"]),
        ({"a": A, "c": C}, [pair("a", "c", "mrr", "first"), pair("a", "c", "cosine_sim", "undecided")], ["a"]),
        ({"a": A, "c": C}, [pair("a", "c", "mrr", "first")], ["a"]),
        ({"a": A, "c": C}, [pair("a", "c", "mrr", "undecided")], ["a", "c"]),
        ({"a": A, "c": C}, [pair("a", "c", "mrr", "too few seeds")], ["a", "c"]),
        ({"a": A, "b": B}, [pair("a", "b", "mrr", "first")], ["a", "b"]),  # b is higher on the other, if not surely
        (
            {"a": A, "b": B, "c": C},
            [pair("a", "c", "mrr", "first"), pair("b", "c", "cosine_sim", "first")],
            ["a", "b"],
        ),
    ],
)
def test_the_pareto_set_by_hand(scores: dict[str, Scores], pairs: list[Pair], expected: list[str]) -> None:
    assert pareto(scores, pairs, MEASURES) == expected


# A whole comparison


LOSSES = ("mse", "cosine", "infonce")
LEVELS = {"mse": (0.20, 0.60), "cosine": (0.25, 0.645), "infonce": (0.40, 0.50)}


def arm_of(name: str, loss: str, role: str, value: float | None) -> Arm:
    return Arm(name=name, loss_fn=loss, role=role, settings={}, search_value=value)  # type: ignore[arg-type]


def confirmed(
    root: Path,
    levels: Mapping[str, tuple[float, float]] = LEVELS,
    ridge: float = 0.1,
    seeds: int = SEEDS,
    uses_before: int = 0,
) -> tuple[Study, Plan, Results, dict[str, Scores]]:
    """A finished confirmation whose picks have these true scores; starts are 0.05 lower in MRR; no loss was trained.

    A loss without a level failed.
    """
    spaces = load_spaces(list(LOSSES))
    study = create_study(Home(root), "hand", spaces, merged_settings(spaces, {}), "digits", "d" * 64)
    arms, results = [], []
    scores: dict[str, Scores] = {}
    for loss in LOSSES:
        pick, start = f"{loss}-0001", f"{loss}-start"
        arms += [arm_of(pick, loss, "candidate", 0.5), arm_of(start, loss, "start", None)]
        for name, lower in ((pick, 0.0), (start, 0.05)):
            role, searched = ("start", None) if lower else ("candidate", 0.5)
            mrr, cosine_sim = levels.get(loss, (0.0, 0.0))
            lost = loss not in levels
            if not lost:
                scores[name] = scores_of(mrr - lower, cosine_sim, name, seeds=seeds)
            results.append(
                ArmResult(
                    name=name,
                    loss_fn=loss,
                    role=role,  # type: ignore[arg-type]
                    search_value=searched,
                    validation=[None if lost else mrr - lower] * seeds,
                    ends=["diverged" if lost else "epochs"] * seeds,
                    geometry={} if lost else SIGNS,
                    output_dim=10,
                )
            )
    for name, mrr in (("chance", 0.01), ("ridge", ridge), ("ridge_centered", ridge - 0.05)):
        scores[name] = scores_of(mrr, 0.3, name, seeds=seeds)
        results.append(ArmResult(name=name, loss_fn=None, role="baseline", validation=[mrr] * seeds))
    plan = Plan(
        number=1,
        created="2026-01-01T00:00:00Z",
        top=1,
        seeds=seeds,
        split_given=False,
        arms=arms,
        starts={loss: f"{loss}-start" for loss in LOSSES},
        versions={},
    )
    picks = {loss: f"{loss}-0001" for loss in LOSSES if loss in levels}
    return study, plan, Results(picks=picks, arms=results, targets=TARGETS, test_uses_before=uses_before), scores


def test_a_comparison_of_three_losses(tmp_path: Path) -> None:
    found = build_comparison(*confirmed(tmp_path, uses_before=2))
    assert (found.winner, found.measures, found.seeds, found.targets) == ("infonce", MEASURES, 10, TARGETS)
    assert (found.test_uses_before, found.failed, found.enough_seeds) == (2, {}, True)
    assert verdicts(found.pairs) == {
        ("infonce", "mse", "mrr"): "first",
        ("infonce", "cosine", "mrr"): "first",
        ("cosine", "mse", "mrr"): "first",
        ("mse", "infonce", "cosine_sim"): "first",
        ("cosine", "infonce", "cosine_sim"): "first",
        ("cosine", "mse", "cosine_sim"): "first",
    }
    assert found.pareto == ["cosine", "infonce"]
    row = found.pick("infonce")
    assert row.test["mrr"].value == pytest.approx(0.4)
    assert row.gain["mrr"].value == pytest.approx(0.05)
    assert (row.search_value, row.validation) == (0.5, pytest.approx(0.4))
    assert row.optimism == pytest.approx(0.1)
    assert found.ridge is not None
    assert found.ridge.name == "ridge"
    assert found.over_ridge is not None
    assert found.over_ridge.value == pytest.approx(0.3)


def test_the_guides_claims_are_relative_gains_tuned_and_untuned(tmp_path: Path) -> None:
    claims = {(c.better, c.at): c for c in build_comparison(*confirmed(tmp_path)).guide}
    assert set(claims) == set(itertools.product(("cosine", "infonce"), ("tuned", "untuned")))
    assert claims["cosine", "tuned"].gain.value == pytest.approx(0.645 / 0.6 - 1)  # 7.5 % more cosine similarity
    assert claims["cosine", "tuned"].verdict == "held"
    assert claims["infonce", "tuned"].gain.value == pytest.approx(0.4 / 0.25 - 1)
    assert claims["infonce", "untuned"].gain.value == pytest.approx(0.35 / 0.2 - 1)
    assert claims["infonce", "tuned"].claimed == (0.10, 0.20)


def test_a_gain_below_the_claim_is_not_held(tmp_path: Path) -> None:
    levels = {"mse": (0.2, 0.6), "cosine": (0.2, 0.606), "infonce": (0.202, 0.5)}
    claims = build_comparison(*confirmed(tmp_path, levels)).guide
    assert {claim.verdict for claim in claims if claim.at == "tuned"} == {"not held"}


def test_a_loss_that_stopped_is_below_what_has_all_seeds_and_compared_on_its_own(tmp_path: Path) -> None:
    study, plan, results, scores = confirmed(tmp_path)
    short = {"mse-0001": 4, "mse-start": 4, "cosine-start": 6}
    arms = [
        arm.model_copy(update={"validation": [0.9] * short[arm.name], "lost_to": "infonce-0001"})  # on easy splits
        if arm.name in short
        else arm
        for arm in results.arms
    ]
    scores = {name: {m: own[: short.get(name, SEEDS)] for m, own in by.items()} for name, by in scores.items()}
    early = plan.model_copy(update={"early": True})
    found = build_comparison(study, early, results.model_copy(update={"arms": arms}), scores)
    assert [(row.name, row.seeds) for row in ordered_rows(found) if row.role != "baseline"] == [
        ("infonce-0001", 10),
        ("cosine-0001", 10),
        ("mse-0001", 4),
        ("infonce-start", 10),
        ("cosine-start", 6),
        ("mse-start", 4),
    ]
    assert {(pair.first, pair.second, pair.seeds) for pair in found.pairs if pair.measure == "mrr"} == {
        ("infonce", "mse", 4),
        ("infonce", "cosine", 10),
        ("cosine", "mse", 4),
    }
    assert found.pick("cosine").gain["mrr"] == difference(
        scores["cosine-0001"]["mrr"][:6], scores["cosine-start"]["mrr"]
    )
    assert {claim.verdict for claim in found.guide} <= {"held", "not held", "undecided"}
    assert found.enough_seeds


def test_a_choice_with_fewer_seeds_than_the_baselines_is_compared_on_its_own(tmp_path: Path) -> None:
    """Each pick stopped for another setting, which then failed: the answer names the seeds that there are."""
    study, plan, results, scores = confirmed(tmp_path)
    picks = set(results.picks.values())
    short = [arm.model_copy(update={"validation": arm.validation[:4], "lost_to": "cosine-9"}) for arm in results.arms]
    arms = [own if own.name in picks else arm for own, arm in zip(short, results.arms, strict=True)]
    scores = {name: {m: own[: 4 if name in picks else SEEDS] for m, own in by.items()} for name, by in scores.items()}
    early = plan.model_copy(update={"early": True})
    found = build_comparison(study, early, results.model_copy(update={"arms": arms}), scores)
    assert found.winner == "infonce"
    assert found.over_ridge == difference(scores["infonce-0001"]["mrr"], scores["ridge"]["mrr"][:4])
    assert "the highest mean val/mrr over 4 fresh seeds, 0.400." in answer_sentences(found)[0]
    assert " over 4 fresh seeds" in short_answer(found)[0]


def test_a_ridge_that_beats_the_winner(tmp_path: Path) -> None:
    found = build_comparison(*confirmed(tmp_path, ridge=0.5))
    assert found.winner == "infonce"
    assert found.over_ridge is not None
    assert found.over_ridge.high < 0
    assert found.over_ridge.value == pytest.approx(-0.1)


def test_the_command_for_more_seeds_confirms_the_same_settings(tmp_path: Path) -> None:
    """Without its --top 1 it would train three settings a loss, and the choice could be another."""
    study, plan, results, scores = confirmed(tmp_path, seeds=3)
    assert plan.top == 1
    told = " ".join(answer_sentences(build_comparison(study, plan, results, scores)))
    assert f"losstune confirm hand --storage {tmp_path} --top 1 --seeds 10 goes on from here." in told
    wider = plan.model_copy(update={"seeds": 20, "margin": 0.05, "early": True})
    again = build_comparison(study, wider, results, scores).again
    assert again == "--top 1 --seeds 20 --smallest --margin 0.05 --early"


def test_the_test_split_has_no_say_in_who_wins(tmp_path: Path) -> None:
    study, plan, results, scores = confirmed(tmp_path)
    for metric in TEST_METRICS:
        scores["mse-0001"][metric] = scores["mse-0001"][metric] + 1
    assert build_comparison(study, plan, results, scores).winner == "infonce"


def test_what_an_earlier_release_did_not_score_stays_absent(tmp_path: Path) -> None:
    study, plan, results, scores = confirmed(tmp_path)
    for own in scores.values():
        del own["mrr_at_10"], own["ndcg_at_10"]
    found = build_comparison(study, plan, results, scores)
    assert found.metrics == ("cosine_sim", "mrr", "recall_at_1", "recall_at_5", "recall_at_10", "mse")
    assert {tuple(row.test) for row in found.rows} == {found.metrics}


def test_a_failed_loss_is_listed_with_its_reason(tmp_path: Path) -> None:
    found = build_comparison(*confirmed(tmp_path, {loss: LEVELS[loss] for loss in ("mse", "infonce")}))
    assert found.failed == {"cosine": "10 of 10 runs failed or diverged (diverged)"}
    assert {loss for pair in found.pairs for loss in (pair.first, pair.second)} == {"mse", "infonce"}
    assert [claim.better for claim in found.guide] == []


def test_a_setting_that_failed_with_a_seed_is_not_left_out_in_silence(tmp_path: Path) -> None:
    """One that is no pick, though perhaps the search's best; and an untuned one, over which there is then no gain."""
    study, plan, results, scores = confirmed(tmp_path)
    start = results.arm("mse-start")
    failed = {"validation": [*start.validation[1:], None], "ends": [*start.ends[1:], "diverged"]}
    arms = [start.model_copy(update=failed) if arm == start else arm for arm in results.arms]
    del scores["mse-start"]
    found = build_comparison(study, plan, results.model_copy(update={"arms": arms}), scores)
    assert found.left_out == {"mse-start": "1 of 10 runs failed or diverged (diverged)"}
    told = "mse-start is not compared: 1 of 10 runs failed or diverged (diverged)."
    assert told in answer_sentences(found)
    assert {row.name: row.cells[0] for row in tuning_table(found).rows}["mse"] == NONE


def test_a_single_loss_left_is_compared_with_baselines_alone(tmp_path: Path) -> None:
    found = build_comparison(*confirmed(tmp_path, {"mse": LEVELS["mse"]}))
    assert (found.winner, found.pairs, found.pareto, list(found.failed)) == ("mse", [], ["mse"], ["cosine", "infonce"])
    assert found.over_ridge is not None


def test_without_a_confirmation_there_is_nothing_to_compare(tmp_path: Path) -> None:
    study, plan, *_ = confirmed(tmp_path)
    command = f"losstune confirm hand --storage {tmp_path}"
    with pytest.raises(UserError, match=f"'hand' is not confirmed yet: {command} trains its best settings"):
        compare(study)
    save_plan(study, plan)
    with pytest.raises(UserError) as refused:
        compare(study)
    assert str(refused.value) == (
        f"the confirmation of study 'hand' is not finished, 0 of 60 runs are done: {command} --top 1 --seeds 10 goes on"
    )


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("levels", [LEVELS, {"mse": LEVELS["mse"]}])
@pytest.mark.parametrize("seeds", [2, SEEDS])
def test_json_has_finite_numbers_or_null(
    tmp_path: Path, losstune: Command, levels: dict[str, tuple[float, float]], seeds: int
) -> None:
    study, plan, results, scores = confirmed(tmp_path, levels, seeds=seeds)
    save_plan(study, plan)
    save_results(study, plan, results, scores)
    told = losstune("compare", "hand", "--json", "--storage", tmp_path)
    assert told.code == 0
    found = json.loads(told.out, parse_constant=refuse_constant)
    assert found["winner"] == ("infonce" if len(levels) > 1 else "mse")
    assert found["enough_seeds"] is (seeds == SEEDS)
    assert found["answer"]
    again = Comparison.model_validate({k: v for k, v in found.items() if k in Comparison.model_fields})
    assert again == compare(study)
