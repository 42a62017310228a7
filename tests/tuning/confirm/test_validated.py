"""A confirmation whose runs were scored on a sample of the validation rows scores them on all, once; without Ray."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.columns import Column
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.splits import query_rows, split_rows
from losstune.trainer.run.layout import BEST_FILE
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.train import train_run
from losstune.trainer.run.trained_model import TrainedModel, load_model
from losstune.tuning.confirm import validated
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult, runs_of
from losstune.tuning.confirm.plan import Plan, plans, save_plan
from losstune.tuning.confirm.results import confirmed_run, load_results
from losstune.tuning.confirm.scoring import score_plan
from losstune.tuning.confirm.validated import score_validation
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, create_study
from tests.trainer.samples import refusal, sample_arrays
from tests.tuning.reported import confirmed, searched
from tests.tuning.samples import settings_of, space_of

QUIET = Console(quiet=True)
SPACE = """
    loss_fn: cosine
    space: {lr: {low: 1.0e-4, high: 1.0e-1, log: true}}
    fixed: {model.depth: 0, batch_size: 512}
"""


def shifted() -> Pairs:
    """6,000 rows, whose targets share a large part, so that a centre matters."""
    arrays = sample_arrays(rows=6000)
    return make_pairs({**arrays, "targets": arrays["targets"] + np.float32(3)}, "made")


PAIRS = shifted()
CUT = {"matryoshka_dims": "2,3", "matryoshka_weights": "0,1"}


def trained(root: Path) -> tuple[Study, Plan]:
    """Two settings of one loss, two seeds each, two epochs; each epoch is scored on 1,000 of about 1,200 rows.

    One of them is also trained for the first three dimensions, and scored by two, which are not trained for.
    """
    settings = settings_of(max_epochs=2, grace_epochs=2, trials=2, eval_queries=1000)
    study = create_study(Home(root), "study", [space_of(SPACE)], settings, "made", PAIRS.digest)
    managed = settings.training("made", 1)
    arms = []
    for name, own in (("cosine-0000", {"lr": 0.01, "center": True, **CUT}), ("cosine-0001", {"lr": 0.02})):
        flat = TrainConfig.from_flat(
            {"loss_fn": "cosine", "model.depth": 0, "batch_size": 512, **own, **managed}
        ).flat()
        arms.append(Arm(name=name, loss_fn="cosine", role="candidate", settings=flat, search_value=0.5))
    plan = Plan(
        number=1,
        created="2026-01-31T09:30:00Z",
        top=2,
        seeds=2,
        split_given=False,
        arms=arms,
        starts={"cosine": "cosine-0000"},
        versions={},
    )
    save_plan(study, plan)
    for run in runs_of(study, plan):
        end(run)
    return study, plan


def end(run: ConfirmRun) -> None:
    folder = RunDirectory(run.folder)
    trainer = train_run(TrainConfig.from_flat(run.settings), PAIRS, folder, QUIET, resume=False).trainer
    times = {"seconds": 1.0, "started": 0.0, "finished": 1.0}
    best = {"best": trainer.best_value, "best_epoch": trainer.best_epoch}
    run.finish(RunResult.model_validate({"end": "epochs", "reason": "used its epochs", "epochs": 2, **best, **times}))


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Plan]:
    return trained(tmp_path_factory.mktemp("unscored"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Plan]:
    study, plan = trained(tmp_path_factory.mktemp("scored"))
    score_validation(study, plan, PAIRS)
    return study, plan


def result_of(run: ConfirmRun) -> RunResult:
    result = run.result()
    assert result is not None
    return result


def mrr(run: ConfirmRun, *, sample: bool = False, dims: int = 5, split: str = "val") -> float:
    """By scikit-learn, of what the checkpoint predicts, cut to its first dimensions."""
    splits = split_rows(PAIRS, run.settings["split_seed"])
    rows = getattr(splits, split)
    queries = query_rows(rows, 1000) if sample else rows
    center = PAIRS.targets[splits.train].mean(axis=0) if run.settings["center"] else np.float32(0)
    predictions = load_model(run.folder / BEST_FILE).predict(PAIRS.inputs[queries]) - center
    predictions, targets = predictions[:, :dims], (PAIRS.targets[rows] - center)[:, :dims]
    scores = predictions @ (targets / np.linalg.norm(targets, axis=1, keepdims=True)).T
    own = PAIRS.ids[queries][:, None] == PAIRS.ids[rows][None, :]
    return float(label_ranking_average_precision_score(own, scores))


def test_each_run_stands_for_its_best_epoch_on_every_validation_row(scored: tuple[Study, Plan]) -> None:
    for run in runs_of(*scored):
        result = result_of(run)
        assert result.best == pytest.approx(mrr(run, sample=True), rel=3e-4)
        assert run.value(result) == result.whole == pytest.approx(mrr(run, sample=False), rel=3e-4)
        assert result.best != pytest.approx(result.whole, rel=2e-3)


def test_what_is_scored_is_not_scored_again(scored: tuple[Study, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [result_of(run) for run in runs_of(*scored)]
    monkeypatch.setattr(validated, "best_predictions", None)
    score_validation(*scored, PAIRS)
    assert [result_of(run) for run in runs_of(*scored)] == before


def test_runs_that_were_scored_on_all_rows_stand_as_they_are(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (4, 4)), top=1, seeds=2)  # without any checkpoint
    plan = next(plans(study))
    score_validation(study, plan, load_pairs("digits"))
    for run in runs_of(study, plan):
        assert run.value(result_of(run)) == result_of(run).best is not None


def test_a_run_without_a_value_stays_without_one(scored: tuple[Study, Plan]) -> None:
    run = runs_of(*scored)[0]
    diverged = result_of(run).model_copy(update={"end": "diverged", "best": None, "best_epoch": 0, "whole": None})
    assert run.value(diverged) is None


def test_nothing_is_picked_by_the_sample(unscored: tuple[Study, Plan]) -> None:
    study, plan = unscored
    run = runs_of(study, plan)[0]
    assert run.is_to_be_scored
    assert refusal(score_plan, study, plan, PAIRS) == f"{run.folder}: this run is not scored on all rows"


def test_a_model_that_predicts_no_number_where_it_is_scored_is_one_error(
    unscored: tuple[Study, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: TrainedModel, inputs: Column) -> Tensor:
        found = embeddings(self, inputs)
        found[7] = torch.nan
        return found

    embeddings, (study, plan) = TrainedModel.embeddings, unscored
    monkeypatch.setattr(TrainedModel, "embeddings", broken)
    run = runs_of(study, plan)[0]
    rows = len(split_rows(PAIRS, run.settings["split_seed"]).val)
    assert refusal(score_validation, study, plan, PAIRS) == (
        f"{run.folder}: predictions hold NaN or infinity in 1 of {rows} rows, first row 7 of those to be scored, and "
        "in none by which its epoch was chosen, so this confirmation has no answer; look at these inputs and at the "
        "model, and search anew once either is mended"
    )
    assert run.is_to_be_scored


def test_the_confirmation_picks_compares_and_exports_by_all_rows(scored: tuple[Study, Plan]) -> None:
    """The picked setting and its best seed are those of all rows, though the sample may have others."""
    study, plan = scored
    for run in runs_of(study, plan):  # the best by the sample is made the worst of all rows
        run.finish(result_of(run).model_copy(update={"best": 2 - result_of(run).whole}))  # type: ignore[operator]
    results = score_plan(study, plan, PAIRS)
    assert load_results(study, plan)[0] == results
    for arm in plan.arms:
        runs = [run for run in runs_of(study, plan) if run.arm == arm]
        assert results.arm(arm.name).validation == [pytest.approx(mrr(run, sample=False), rel=3e-4) for run in runs]
    means = {arm.name: results.arm(arm.name).validation_mean for arm in plan.arms}
    assert means[results.picks["cosine"]] == max(means.values())
    by_cut = [run for run in runs_of(study, plan) if run.arm.name == "cosine-0000"]
    assert results.arm("cosine-0000").prefixes == {3: [pytest.approx(mrr(run, dims=3), rel=3e-4) for run in by_cut]}
    assert results.arm("cosine-0001").prefixes == {}
    test = load_results(study, plan)[1]["cosine-0000"]["dim_3/mrr"].mean(axis=1)  # of targets, each of one row
    assert test == pytest.approx([mrr(run, dims=3, split="test") for run in by_cut], rel=3e-4)
    picked = confirmed_run(study, "cosine")
    assert picked is not None
    assert result_of(picked).whole == max(result_of(r).whole for r in runs_of(study, plan) if r.arm == picked.arm)  # type: ignore[type-var]


def test_a_run_that_has_not_ended_is_left_alone(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (4, 4)), top=1, seeds=2)
    plan = next(plans(study))
    sampled = plan.model_copy(
        update={
            "arms": [arm.model_copy(update={"settings": arm.settings | {"eval_queries": 1000}}) for arm in plan.arms]
        }
    )
    for run in runs_of(study, sampled):
        (run.folder / "result.json").unlink()
    score_validation(study, sampled, load_pairs("digits"))
    with pytest.raises(UserError, match="this run has not ended"):
        score_plan(study, sampled, load_pairs("digits"))
