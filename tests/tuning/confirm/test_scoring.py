"""Who is picked, and what is scored, of a confirmation whose runs are over; without Ray."""

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.resident import SplitTensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.train import train_run
from losstune.tuning.confirm import scoring
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import RESULT_FILE, RunResult, ended_values, runs_of
from losstune.tuning.confirm.plan import Plan, is_finished, latest_finished, record_test_use, save_plan, saw_test_rows
from losstune.tuning.confirm.results import ArmResult, load_results
from losstune.tuning.confirm.scoring import NothingToScoreError, pick, score_plan
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.space.feasibility import load_spaces
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, create_study
from tests.tuning.confirm.test_cost import COST
from tests.tuning.reported import BASELINES, confirmed, searched
from tests.tuning.samples import settings_of


def plan_of(*losses: str, top: int = 3) -> Plan:
    arms = [
        Arm(name=f"{loss}-{number}", loss_fn=loss, role="candidate", settings={}, search_value=0.5)
        for loss in losses
        for number in range(top)
    ]
    starts = {loss: f"{loss}-start" for loss in losses}
    return Plan(number=1, created="", top=top, seeds=2, split_given=False, arms=arms, starts=starts, versions={})


def results_of(**validation: list[float | None]) -> dict[str, ArmResult]:
    named = ((name.replace("_", "-"), values) for name, values in validation.items())
    return {name: ArmResult(name=name, loss_fn=None, role="candidate", validation=own) for name, own in named}


@pytest.mark.parametrize(
    ("second", "picked"),
    [
        ([0.3, 0.6], "mse-1"),
        ([0.5, 0.25], "mse-0"),  # of equal ones the better of the search
        ([0.9, None], "mse-0"),  # a setting that fails with one seed is none
        ([0.9], "mse-0"),  # one that stopped early had clearly lost
    ],
)
def test_the_highest_mean_of_a_loss_is_picked(second: list[float | None], picked: str) -> None:
    arms = results_of(mse_0=[0.25, 0.5], mse_1=second, mse_2=[0.1, 0.1])
    assert pick(plan_of("mse"), arms) == {"mse": picked}


def test_a_loss_whose_every_setting_failed_has_no_pick() -> None:
    arms = results_of(mse_0=[None, 0.3], mse_1=[None, None], cosine_0=[0.1, 0.1], cosine_1=[0.2, 0.1])
    assert pick(plan_of("mse", "cosine", top=2), arms) == {"cosine": "cosine-1"}


def test_rows_of_a_target_are_averaged_so_that_every_target_counts_once() -> None:
    positive = torch.tensor([0, 0, 1, 0])
    rows_of = torch.zeros(4, 2)
    split = SplitTensors(rows_of, rows_of, torch.arange(4), gallery=torch.zeros(2, 2), positive=positive)
    rows = [{"mrr": torch.tensor([0.0, 0.5, 1.0, 0.25])}, {"mrr": torch.tensor([1.0, 1.0, 0.0, 1.0])}]
    np.testing.assert_allclose(scoring._by_target(rows, split)["mrr"], [[0.25, 1.0], [1.0, 0.0]])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return confirmed(searched(tmp_path, trials=(4, 4)), top=2, seeds=2)


def newest(study: Study) -> Plan:
    plan = latest_finished(study)
    assert plan is not None
    return plan


def test_picks_untuned_starts_and_baselines_are_scored_on_the_test_split(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of each checkpoint's predictions: the targets, so that what was trained scores 1."""
    pairs, scored = load_pairs("digits"), []

    def score(run: object, pairs: Pairs, split: SplitTensors) -> scoring._Scored:
        scored.append(str(run.name))  # type: ignore[attr-defined]
        ones = torch.ones(len(split.targets))
        return scoring._Scored(dict.fromkeys(("mrr", "cosine_sim"), ones), {"hubness": 0.5})

    monkeypatch.setattr(scoring, "_score_run", score)
    monkeypatch.setattr(scoring, "_cost", lambda run, split: COST)
    plan = newest(study)
    for number in (7, 8, 9):
        record_test_use(study, plan.model_copy(update={"number": number}))
    found = score_plan(study, plan, pairs)
    arms = [*(plan.candidates(loss)[0].name for loss in plan.losses), *plan.starts.values()]
    assert sorted(scored) == sorted(f"{arm}/seed-0{seed}" for arm in arms for seed in (0, 1))
    results, scores = load_results(study, plan)
    assert results == found
    assert (found.test_uses_before, found.targets) == (3, scores[arms[0]]["mrr"].shape[1])
    assert set(scores) == {*arms, *BASELINES}
    assert scores[arms[0]]["mrr"].min() == 1.0
    assert 0 < scores["ridge"]["mrr"].mean() < 1.0
    assert found.arm(arms[0]).geometry == {"hubness": [0.5, 0.5]}
    assert {own.name for own in found.arms if own.cost == COST} == set(arms)
    assert found.arm(plan.candidates("cosine")[1].name).geometry == {}


@pytest.mark.parametrize(
    ("of_other", "scored"),
    [
        ({"model.hidden_dim": 8}, True),
        ({}, False),
        ({"matryoshka_dims": "8"}, True),  # as many parameters, and fewer dimensions
        ({"matryoshka_dims": "8", "model.hidden_dim": 128}, False),
    ],
)
def test_settings_with_a_smaller_model_than_the_best_picks_are_scored_too(
    of_other: dict[str, Any], scored: bool, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever margin is asked for later, the smallest within it has its scores; the test split is used once."""
    plan = newest(study)
    best, other = plan.candidates("infonce")
    arms = [
        arm.model_copy(
            update={"settings": arm.settings | {"model.hidden_dim": 64} | (of_other if arm == other else {})}
        )
        for arm in plan.arms
    ]
    plan = plan.model_copy(update={"arms": arms})
    ones = torch.ones(len(split_rows(load_pairs("digits"), 0).test))
    monkeypatch.setattr(scoring, "_score_run", lambda *_: scoring._Scored({"mrr": ones, "cosine_sim": ones}, {}))
    monkeypatch.setattr(scoring, "_cost", lambda run, split: COST)
    monkeypatch.setattr(scoring, "prefix_values", lambda study, runs, pairs: {})
    found = score_plan(study, plan, load_pairs("digits"))
    assert found.picks["infonce"] == best.name
    expected = {*found.picks.values(), *plan.starts.values(), *BASELINES, *([other.name] if scored else [])}
    assert set(load_results(study, plan)[1]) == expected
    assert plan.candidates("cosine")[1].name not in expected


def end_all(study: Study, plan: Plan, end: str, reason: str) -> None:
    for run in runs_of(study, plan):
        (run.folder / RESULT_FILE).unlink()
        fields = {"epochs": 1, "best": None, "best_epoch": 0, "seconds": 0, "started": 0, "finished": 0}
        run.finish(RunResult.model_validate({"end": end, "reason": reason, **fields}))


@pytest.mark.parametrize(
    ("end", "reason", "told"),
    [
        ("diverged", "", "; --top 3 trains the next best settings too"),
        (
            "failed",
            "its worker died",
            ", 12 of 12 runs with 'its worker died'; once the cause is mended, the same command trains what failed "
            "again",
        ),
    ],
)
def test_where_no_setting_has_a_value_nothing_is_scored_and_that_is_no_use_of_the_test_split(
    end: str, reason: str, told: str, study: Study
) -> None:
    plan = newest(study)
    end_all(study, plan, end, reason)
    with pytest.raises(NothingToScoreError) as refused:
        score_plan(study, plan, load_pairs("digits"))
    said = "confirmation 1: every setting of every loss failed or diverged with some seed"
    assert (str(refused.value), refused.value.exit_code) == (f"{said}{told}", 1)
    assert not saw_test_rows(study, plan)


def test_a_test_split_that_is_too_small_to_score_was_not_used(study: Study) -> None:
    pairs = load_pairs("digits")
    split = np.array(["train"] * 30 + ["val"] * 10 + ["test"] * 10)
    ids = np.arange(50).clip(max=40)
    same = make_pairs({"inputs": pairs.inputs[:50], "targets": pairs.targets[ids], "ids": ids, "split": split}, "one")
    plan = newest(study)
    with pytest.raises(UserError, match="one: the test split has 1 distinct targets, at least 2 are needed"):
        score_plan(study, plan, same)
    assert not saw_test_rows(study, plan)


def test_a_use_of_the_test_split_is_on_record_before_a_row_is_scored(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(run: object, pairs: Pairs, split: SplitTensors) -> scoring._Scored:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "_score_run", cut_short)
    plan = newest(study)
    with pytest.raises(KeyboardInterrupt):
        score_plan(study, plan, load_pairs("digits"))
    assert saw_test_rows(study, plan)


def test_a_run_that_has_not_ended_is_named(study: Study) -> None:
    plan = newest(study)
    run = runs_of(study, plan)[0]
    (run.folder / RESULT_FILE).unlink()
    with pytest.raises(UserError, match=f"{run.folder}: this run has not ended"):
        score_plan(study, plan, load_pairs("digits"))
    assert is_finished(study, plan)  # by its earlier results


def test_a_choice_that_has_clearly_lost_to_its_untuned_start_has_all_seeds_and_is_compared(tmp_path: Path) -> None:
    """As of a search in a range where nothing is learnt; trained for real."""
    pairs, quick = load_pairs("digits"), {"num_epochs": 2, "model.hidden_dim": 16, "device": "cpu", "threads": 1}
    study = create_study(Home(tmp_path), "study", load_spaces(["mse"]), settings_of(trials=1), "digits", pairs.digest)
    arms = [
        Arm(name=name, loss_fn="mse", role=role, search_value=0.1, settings=flat({"loss_fn": "mse", "lr": lr, **quick}))  # type: ignore[arg-type]
        for name, role, lr in (("mse-0000", "candidate", 1e-9), ("mse-start", "start", 0.01))
    ]
    starts = {"mse": "mse-start"}
    plan = Plan(
        number=1, created="", top=1, seeds=5, split_given=False, arms=arms, starts=starts, versions={}, early=True
    )
    save_plan(study, plan)
    for run in runs_of(study, plan):
        trainer = train_run(
            TrainConfig.from_flat(run.settings), pairs, RunDirectory(run.folder), Console(quiet=True), resume=False
        ).trainer
        best = {"best": trainer.best_value, "best_epoch": trainer.best_epoch}
        ended = {"end": "epochs", "reason": "", "epochs": 2, "seconds": 1, "started": 0, "finished": 1}
        run.finish(RunResult.model_validate(ended | best))
    better, worse = (fmean(own.values()) for own in reversed(ended_values(study, plan).values()))  # type: ignore[arg-type]
    assert better > 2 * worse
    score_plan(study, plan, pairs)
    found = compare(study)
    assert [(row.name, row.seeds, row.lost_to) for row in found.rows[:2]] == [
        ("mse-0000", 5, None),
        ("mse-start", 5, None),
    ]
    assert found.pick("mse").gain["mrr"].high < 0
    assert "over 5 fresh seeds" in answer_sentences(found)[1]


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    return TrainConfig.from_flat(settings).flat()
