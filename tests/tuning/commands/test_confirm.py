"""Confirmations on a real Ray, read back from the runs' files, MLflow and the export, and scored again by NumPy."""

import hashlib
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from mlflow.tracking import MlflowClient
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import append_durably
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.history import Record, history_line, read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.train import train_run
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.commands import confirm as confirm_command
from losstune.tuning.commands.confirm import Confirmed, ConfirmRequest, confirm
from losstune.tuning.commands.export import export
from losstune.tuning.commands.launch import launch
from losstune.tuning.confirm import looks
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import ConfirmRun, runs_of
from losstune.tuning.confirm.plan import Plan, make_plan, plans, record_test_use, save_plan
from losstune.tuning.confirm.results import Results, load_results
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.confirm.small_trials import SmallModel
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution, Session
from losstune.tuning.show.confirm_progress import ConfirmProgress
from losstune.tuning.space.feasibility import Baseline, load_spaces
from losstune.tuning.space.merged import merged_settings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study, open_study
from losstune.tuning.study.trial import Ending, ranked
from losstune.tuning.track.mlflow_store import default_store
from tests.conftest import without_tracker
from tests.trainer.samples import timeless
from tests.tuning import reported
from tests.tuning.conftest import request_for
from tests.tuning.samples import diverged, used_up

QUIET = Console(quiet=True)
EXAMPLE = Path(__file__).parents[3] / "examples" / "champion.py"
LOSSES = ("mse", "infonce")
BASELINES = {"chance", "mean_target", "ridge", "ridge_centered", "untrained"}
Numbers = dict[str, Any]


def confirm_it(
    root: Path,
    address: str | None,
    seeds: int = 3,
    console: Console = QUIET,
    name: str = "study",
    *,
    early: bool = False,
) -> Confirmed:
    execution = Execution(Resources(2, 1, 0.0), address)
    return confirm(ConfirmRequest(name, Home(root), 2, seeds, execution, early=early), console)


def files_digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def numbers(run: ConfirmRun) -> list[Numbers]:
    """A run's history without its clock."""
    return timeless(read_history(run.folder / "history.jsonl"))


def uses_in(root: Path) -> list[Numbers]:
    path = root / "test_uses.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Sample:
    """A confirmed study, and a copy of its root from before."""

    confirmed: Confirmed
    unconfirmed: Path

    @property
    def study(self) -> Study:
        return self.confirmed.study

    @property
    def root(self) -> Path:
        return self.study.home.root

    @property
    def runs(self) -> list[ConfirmRun]:
        return runs_of(self.study, self.confirmed.plan)

    @property
    def results(self) -> tuple[Results, dict[str, dict[str, npt.NDArray[np.float64]]]]:
        return load_results(self.study, self.confirmed.plan)


@pytest.fixture(scope="module")
def sample(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The search leaves MLflow to the confirmation, which has to write what is missing."""
    root = tmp_path_factory.mktemp("confirmed")
    with without_tracker():
        launch(request_for(root, ray_address, *LOSSES, max_epochs=3, trials=3, seed=1), QUIET)
    unconfirmed = tmp_path_factory.mktemp("unconfirmed") / "root"
    shutil.copytree(root, unconfirmed)
    done = confirm_it(root, ray_address)
    assert done.tracked
    return Sample(done, unconfirmed)


def copy_of(root: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    copy = tmp_path / "root"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("mlartifacts", "mlflow.db"))
    return copy


# Runs


def test_every_run_has_its_files(sample: Sample) -> None:
    assert len(sample.runs) == 3 * len(sample.confirmed.plan.arms)
    assert len(sample.confirmed.plan.arms) >= 2 * len(LOSSES)
    for run in sample.runs:
        result = run.result()
        assert result is not None
        records = read_history(run.folder / "history.jsonl")
        values = [record["val/mrr"] for record in records]
        assert (result.end, result.epochs) == ("epochs", 3)
        assert (result.best, result.best_epoch) == (max(values), values.index(max(values)) + 1)
        assert read_config(run.folder / "config.yaml").settings == run.settings


def test_seeds_are_fresh_and_the_same_for_all_losses(sample: Sample) -> None:
    used: dict[int, set[tuple[int, int]]] = {}
    for run in sample.runs:
        settings = read_config(run.folder / "config.yaml").settings
        used.setdefault(run.seed, set()).add((settings["seed"], settings["split_seed"]))
    assert [len(pairs) for pairs in used.values()] == [1, 1, 1]
    fresh = [seed for pairs in used.values() for pair in pairs for seed in pair]
    assert len(set(fresh)) == 6
    for config in sample.study.trials_folder.glob("*/config.yaml"):
        settings = read_config(config).settings
        assert not {settings["seed"], settings["split_seed"]} & set(fresh)


def test_settings_are_those_of_the_searchs_best_trials(sample: Sample) -> None:
    for loss, trials in sample.study.trials().items():
        best = sorted(trials, key=lambda trial: -trial.rank_value)[:2]
        arms = sample.confirmed.plan.candidates(loss)
        assert [arm.name for arm in arms] == [trial.name for trial in best]
        for arm in arms:
            searched = read_config(sample.study.trials_folder / arm.name / "config.yaml").settings
            run = read_config(sample.study.folder / f"confirm/runs/{arm.name}/seed-01/config.yaml").settings
            assert {n for n in run if run[n] != searched[n]} == {"seed", "split_seed"}


def test_the_untuned_starts_are_there(sample: Sample) -> None:
    starts = sample.confirmed.plan.starts
    assert set(starts) == set(LOSSES)
    scored = sample.results[1]
    for loss, name in starts.items():
        (arm,) = (arm for arm in sample.confirmed.plan.arms if arm.name == name)
        flat = TrainConfig.from_flat({"loss_fn": loss}).flat()
        own = ("batch_size", "lr", "weight_decay", "temperature", "model.depth", "model.hidden_dim", "center")
        assert {n: arm.settings[n] for n in own if n in flat} == {n: flat[n] for n in own if n in flat}
        assert scored[name]["mrr"].shape == (3, sample.results[0].targets)


# The test split


def test_rows_of_test_are_the_same_for_all_seeds_and_in_no_run(sample: Sample) -> None:
    pairs = load_pairs("digits")
    splits = [split_rows(pairs, run.settings["split_seed"]) for run in sample.runs if run.arm.role == "candidate"]
    test = set(splits[0].test.tolist())
    assert test == set(split_rows(pairs, sample.study.spec.settings.seed).test.tolist())
    for split in splits:
        assert set(split.test.tolist()) == test
        assert not test & {*split.train.tolist(), *split.val.tolist()}
    assert len({frozenset(split.val.tolist()) for split in splits}) == 3


def unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def scores_by_hand(run: ConfirmRun, pairs: Pairs) -> dict[str, npt.NDArray[np.float64]]:
    """Each distinct test target's scores, by loops over rows; targets in the order of their ids."""
    split = split_rows(pairs, run.settings["split_seed"])
    predictions = load_model(run.folder / "best.pt").embeddings(torch.from_numpy(pairs.inputs[split.test])).numpy()
    targets, ids = pairs.targets[split.test].astype(np.float64), pairs.ids[split.test]
    distinct = sorted(set(ids.tolist()))
    gallery = np.stack([targets[ids == own][0] for own in distinct])
    center = pairs.targets[split.train].astype(np.float64).mean(axis=0) if run.settings["center"] else 0.0
    table = unit(predictions - center) @ unit(gallery - center).T
    found: dict[str, list[list[float]]] = {
        name: [[] for _ in distinct] for name in ("cosine_sim", "mse", "mrr", "recall_at_1", "recall_at_5")
    }
    for row, own in enumerate(ids.tolist()):
        place = distinct.index(own)
        p, t = predictions[row].astype(np.float64), targets[row]
        rank = 1 + int((table[row] > table[row, place]).sum())
        found["cosine_sim"][place].append(float(p @ t / np.linalg.norm(p) / np.linalg.norm(t)))
        found["mse"][place].append(float(((p - t) ** 2).mean()))
        found["mrr"][place].append(1 / rank)
        found["recall_at_1"][place].append(float(rank <= 1))
        found["recall_at_5"][place].append(float(rank <= 5))
    return {name: np.array([np.mean(values) for values in own]) for name, own in found.items()}


def test_scores_are_those_of_the_checkpoints(sample: Sample) -> None:
    pairs = load_pairs("digits")
    results, scores = sample.results
    shown = {arm.name for arm in results.arms if arm.cost is not None}
    assert shown >= {*results.picks.values(), *sample.confirmed.plan.starts.values()}
    assert set(scores) == shown | BASELINES
    for run in sample.runs:
        if run.arm.name in shown:
            for metric, by_hand in scores_by_hand(run, pairs).items():
                stored = scores[run.arm.name][metric][run.seed]
                np.testing.assert_allclose(stored, by_hand, atol=1e-5, err_msg=f"{run.name} {metric}")


def test_costs_are_those_of_the_checkpoints_and_whatever_is_smaller_than_the_choice_has_them(sample: Sample) -> None:
    results, _ = sample.results
    sizes = {}
    for run in (run for run in sample.runs if run.seed == 0):
        model, cost = load_model(run.folder / "best.pt").model, results.arm(run.arm.name).cost
        sizes[run.arm.name] = sum(parameter.numel() for parameter in model.parameters())
        if cost is not None:
            assert (cost.parameters, cost.dims) == (sizes[run.arm.name], 32)
            assert cost.file_bytes == (run.folder / "best.pt").stat().st_size
            assert min(cost.single, cost.batched) > 0
    choice = sizes[results.picks[results.winner]]
    smaller = {name for name, size in sizes.items() if size < choice}
    needed = {*results.picks.values(), *sample.confirmed.plan.starts.values()}
    assert {arm.name for arm in results.arms if arm.cost is not None} == needed | smaller


def test_the_pick_of_a_loss_has_the_highest_mean(sample: Sample) -> None:
    results, _ = sample.results
    means = {}
    for arm in sample.confirmed.plan.arms:
        runs = [run for run in sample.runs if run.arm == arm]
        means[arm.name] = np.mean([max(r["val/mrr"] for r in numbers(run)) for run in runs])
        assert results.arm(arm.name).validation_mean == pytest.approx(means[arm.name], abs=1e-12)
    for loss, name in results.picks.items():
        assert name == max((arm.name for arm in sample.confirmed.plan.candidates(loss)), key=means.__getitem__)
    assert results.winner == max(LOSSES, key=lambda loss: means[results.picks[loss]])


def test_baselines_are_scored_on_the_same_targets(sample: Sample) -> None:
    results, scores = sample.results
    assert {arm.name for arm in results.arms if arm.role == "baseline"} == BASELINES
    assert set(Baseline.__args__) == BASELINES  # type: ignore[attr-defined]
    for name in BASELINES:
        assert scores[name]["mrr"].shape == (3, results.targets)
    assert np.ptp(scores["chance"]["mrr"].mean(axis=1)) == pytest.approx(0)


def poison(pairs: Pairs) -> Pairs:
    rows = split_rows(pairs, 0).test
    inputs, targets = pairs.inputs.copy(), pairs.targets.copy()
    inputs[rows] = np.nan
    targets[rows] = np.nan
    return Pairs(pairs.source, inputs, targets, pairs.ids, pairs.split, pairs.digest)


def test_an_interrupted_confirmation_goes_on_and_training_reads_no_test_row(
    sample: Sample, ray_address: str, tmp_path: Path, untracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a signal after two runs, continued with NaN for test rows: the numbers of the undisturbed one."""
    root = copy_of(sample.unconfirmed, tmp_path)
    scored: list[int] = []
    poisoned = poison(load_pairs("digits"))
    monkeypatch.setattr("losstune.tuning.commands.confirm.study_pairs", lambda study, *_: poisoned)
    monkeypatch.setattr(
        "losstune.tuning.commands.confirm._score", lambda study, plan, pairs, console: scored.append(plan.number)
    )
    ended = ConfirmProgress.ended
    ends: list[str] = []

    def stop_at_second(self: ConfirmProgress, run: ConfirmRun, result: Any) -> None:
        ended(self, run, result)
        ends.append(run.name)
        if len(ends) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    try:
        with monkeypatch.context() as patch:
            patch.setattr(ConfirmProgress, "ended", stop_at_second)
            stopped = confirm_it(root, ray_address, seeds=2)
    finally:
        signal.signal(signal.SIGINT, former)
    done = [run for run in runs_of(stopped.study, stopped.plan) if run.result() is not None]
    assert stopped.stopped.exit_code == 130
    assert 2 <= len(done) < len(runs_of(stopped.study, stopped.plan))
    assert (scored, uses_in(root)) == ([], [])
    kept = {run.name: files_digest(run.folder) for run in done}

    finished = confirm_it(root, ray_address, seeds=2)
    assert scored == [1]
    assert uses_in(root) == []
    runs = runs_of(finished.study, finished.plan)
    assert {run.name: files_digest(run.folder) for run in runs if run.name in kept} == kept
    undisturbed = {run.name: run for run in sample.runs}
    assert len(runs) >= 8  # at least two settings of each loss, with two seeds
    for run in runs:
        assert numbers(run) == numbers(undisturbed[run.name]), run.name


# Again, with more seeds, refused


def test_the_same_confirmation_again_changes_nothing(sample: Sample, ray_address: str) -> None:
    folder = sample.study.folder / "confirm"
    before, uses = files_digest(folder), uses_in(sample.root)
    assert [use["confirmation"] for use in uses] == [1]
    said = io.StringIO()
    again = confirm_it(sample.root, ray_address, console=Console(file=said))
    assert files_digest(folder) == before
    assert uses_in(sample.root) == uses
    assert "Confirmation 1 of study study has its 3 seeds already" in said.getvalue()
    assert again.plan == sample.confirmed.plan


def test_more_seeds_train_only_what_is_missing_and_count_a_second_use(
    sample: Sample, ray_address: str, tmp_path: Path, untracked: None
) -> None:
    root = copy_of(sample.root, tmp_path)
    before = files_digest(root / "studies/study/confirm")
    lost, other = sample.runs[-1], sample.runs[-2]
    for name in ("result.json", "last.pt"):
        (root / "studies/study/confirm/runs" / lost.name / name).unlink()
    study = open_study(Home(root), "study")
    fail(ConfirmRun(study, other.arm, other.seed))
    said = io.StringIO()
    more = confirm_it(root, ray_address, 4, Console(file=said, width=400))
    after = files_digest(root / "studies/study/confirm")
    unlucky = tuple(f"runs/{run.name}/" for run in (lost, other))
    assert {k: v for k, v in before.items() if not k.startswith(unlucky)}.items() <= after.items()
    new = {name.rsplit("/", 1)[0] for name in after if name not in before}
    assert new == {"2", *(f"runs/{arm.name}/seed-03" for arm in more.plan.arms)}
    for run in runs_of(more.study, more.plan):
        if run.name in (lost.name, other.name):
            assert numbers(run) == numbers(lost if run.name == lost.name else other)
            assert (run.result().end, run.result().best) == ("epochs", max(r["val/mrr"] for r in numbers(run)))
    assert "Runs that failed are trained again: 1, the first one" in said.getvalue()
    assert [use["confirmation"] for use in uses_in(root)] == [1, 2]
    assert "was used once before by a confirmation" in said.getvalue()
    results, scores = load_results(more.study, more.plan)
    assert results.test_uses_before == 1
    for name, own in sample.results[1].items():
        if name in scores:
            np.testing.assert_allclose(scores[name]["mrr"][:3], own["mrr"], atol=1e-12)


def test_other_data_is_refused(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    other = make_pairs({"inputs": rng.normal(size=(300, 3)), "targets": rng.normal(size=(300, 3))}, "other")
    monkeypatch.setattr("losstune.tuning.commands.confirm.study_pairs", lambda study, *_: other)
    with pytest.raises(UserError) as refused:
        confirm_it(sample.root, None)
    assert str(refused.value) == (
        f"other is not the data of study 'study': SHA-256 {sample.study.spec.data_digest[:12]} in the study, "
        f"{other.digest[:12]} now"
    )


def test_a_study_without_trials_is_refused(tmp_path: Path) -> None:
    spaces = load_spaces(["mse"])
    settings = merged_settings(spaces, {})
    create_study(Home(tmp_path), "empty", spaces, settings, "digits", load_pairs("digits").digest)
    with pytest.raises(UserError, match="study 'empty': mse has no finished trial with a value to confirm yet"):
        confirm_it(tmp_path, None, name="empty")
    assert not (tmp_path / "studies/empty/confirm").exists()


# MLflow


@pytest.fixture
def client(sample: Sample) -> MlflowClient:
    return MlflowClient(f"sqlite:///{sample.root / 'mlflow.db'}")


def test_mlflow_holds_the_same_numbers(sample: Sample, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], max_results=1000)}
    parent = runs["confirm"]
    results, scores = sample.results
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["losstune.winner"] == results.winner
    children = {n for n, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert children == {run.name for run in sample.runs} | {f"confirm/{name}" for name in BASELINES}
    for run in sample.runs:
        shown, result = runs[run.name], run.result()
        assert result is not None
        assert shown.info.status == "FINISHED"
        assert shown.data.params == {k: str(v) for k, v in read_config(run.folder / "config.yaml").settings.items()}
        assert shown.data.metrics["confirmed/mrr"] == result.best
        logged = {point.step: point.value for point in client.get_metric_history(shown.info.run_id, "val/mrr")}
        assert logged == {int(r["epoch"]): r["val/mrr"] for r in read_history(run.folder / "history.jsonl")}
        test = {n: v for n, v in shown.data.metrics.items() if n.startswith("test/")}
        own = scores.get(run.arm.name, {})
        assert test == {f"test/{metric}": pytest.approx(values[run.seed].mean()) for metric, values in own.items()}
    for name in BASELINES:
        history = client.get_metric_history(runs[f"confirm/{name}"].info.run_id, "test/mrr")
        assert {p.step: p.value for p in history} == dict(enumerate(map(pytest.approx, scores[name]["mrr"].mean(1))))
    for loss, name in results.picks.items():
        for metric, values in scores[name].items():
            assert parent.data.metrics[f"{loss}/test/{metric}"] == pytest.approx(values.mean())


def test_the_champion_is_found_by_its_metrics_and_described(sample: Sample, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    champion = client.get_model_version_by_alias("study", "champion")
    (run,) = (run for run in sample.runs if run.name == champion.tags["losstune.run"])
    best = run.result().best
    (model,) = client.search_logged_models([experiment.experiment_id], f"metrics.`val/mrr` > {best - 1e-6}")
    assert champion.source == f"models:/{model.model_id}"
    shown = client.get_run(champion.run_id).data.metrics
    found = {metric.key: metric.value for metric in model.metrics}
    assert (found["val/mrr"], found["confirmed/mrr"], found["test/mrr"]) == (best, best, shown["test/mrr"])
    assert client.search_logged_models([experiment.experiment_id], f"metrics.`val/mrr` > {best}") == []
    assert f"**{run.arm.loss}**, with the settings of `{run.arm.name}`" in champion.description


def test_the_champion_predicts_what_its_checkpoint_does(sample: Sample, client: MlflowClient) -> None:
    import mlflow.pytorch

    results, _ = sample.results
    arm = results.picks[results.winner]
    run = f"{arm}/seed-{results.best_seed(arm):02d}"
    assert client.get_model_version_by_alias("study", "champion").tags["losstune.run"] == run
    with default_store(f"sqlite:///{sample.root / 'mlflow.db'}"):
        model = mlflow.pytorch.load_model("models:/study@champion")
    inputs = torch.from_numpy(load_pairs("digits").inputs)
    expected = load_model(sample.study.folder / "confirm/runs" / run / "best.pt").embeddings(inputs)
    with torch.no_grad():
        predicted = model(inputs)
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_the_example_ranks_a_gallery_with_the_champion_as_the_study_does(sample: Sample) -> None:
    results, _ = sample.results
    arm = results.picks[results.winner]
    model = load_model(sample.study.folder / f"confirm/runs/{arm}/seed-{results.best_seed(arm):02d}/best.pt")
    pairs = load_pairs("digits")
    scores = model.predict(pairs.inputs, for_search=True) @ model.gallery(pairs.targets).T
    ranks = 1 + (scores > scores.diagonal()[:, None]).sum(axis=1)
    command = [sys.executable, str(EXAMPLE), "study", "sqlite:///mlflow.db"]
    said = subprocess.run(command, cwd=sample.root, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0].startswith(f"left half 0: right halves {int(scores[0].argmax())}, ")
    share = float(said[-1].split()[-1].rstrip("%")) / 100
    assert share == pytest.approx(float((ranks <= 5).mean()), abs=0.001)


# Export


def test_the_confirmed_export_repeats_the_run_that_did_best(sample: Sample, tmp_path: Path) -> None:
    exported = export(sample.study, None, tmp_path / "best.yaml")
    file = read_config(tmp_path / "best.yaml")
    results, _ = sample.results
    arm = results.picks[results.winner]
    own = [run for run in sample.runs if run.arm.name == arm]
    best = max(own, key=lambda run: max(r["val/mrr"] for r in numbers(run)))
    assert (exported.trial, exported.seeds) == (arm, 3)
    assert exported.value == pytest.approx(results.arm(arm).validation_mean)
    assert (file.source["confirmed"], file.source["run"]) == (True, best.name)
    assert file.settings == best.settings
    config = TrainConfig.from_flat(file.settings)
    train_run(config, load_pairs(config.data), RunDirectory(tmp_path / "final"), QUIET, resume=False)
    final = read_history(tmp_path / "final" / "history.jsonl")
    for before, after in zip(numbers(best), final, strict=True):
        for name in (name for name in before if name.startswith("val/")):
            assert after[name] == pytest.approx(before[name], abs=1e-6)


def test_before_a_confirmation_the_export_says_so(sample: Sample, tmp_path: Path) -> None:
    exported = export(open_study(Home(sample.unconfirmed), "study"), None, tmp_path / "best.yaml")
    assert exported.seeds == 0
    assert read_config(tmp_path / "best.yaml").source["confirmed"] is False


# What is sought for being small


@pytest.mark.parametrize(
    ("small", "said"),
    [
        (
            (1, 8, 4000, 0.49),
            "{1} cut to 8 of 32 dimensions is among the settings to train: 4,000 parameters to the 4,000 of "
            "{0}, 0.4900 to 0.5000 in the search",
        ),
        (
            (2, 32, 1000, 0.485),
            "{2} comes among the settings to train: 1,000 parameters to the 4,000 of {0}, 0.4850 to "
            "0.5000 in the search",
        ),
        ((1, 32, 4000, 0.5), "no trial within 0.02 of the best one, {0}, is smaller"),
    ],
)
def test_the_smallest_of_the_search_is_said_and_trained(
    small: tuple[int, int, int, float], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = reported.searched(tmp_path, (4, 4))
    plan = make_plan(study, 1, 1, 10, 1, split_given=False)
    place, dims, parameters, value = small
    trials = [*ranked(study.trials()["infonce"])[:1], *ranked(study.trials()["cosine"])]
    models = [SmallModel(32, 4000, 0.5, trials[0]), SmallModel(dims, parameters, value, trials[place])]
    monkeypatch.setattr(confirm_command, "models_of", lambda *_: models)
    output = io.StringIO()
    console = Console(file=output, width=300)
    wider = confirm_command._with_smallest(study, plan, 0.02, load_pairs("digits"), 1, console)
    assert output.getvalue() == f"--smallest: {said.format(*(trial.name for trial in trials))}\n"
    assert [arm.name for arm in wider.arms] == [arm.name for arm in plan.arms] + [trials[2].name] * (place == 2)


# Early stops


@pytest.mark.parametrize(
    ("was_early", "early", "number"),
    [(False, True, 1), (True, True, 1), (False, False, 1), (True, False, 2)],
)
def test_a_confirmation_with_all_seeds_is_also_one_that_may_stop_early_and_not_the_other_way(
    was_early: bool, early: bool, number: int, tmp_path: Path
) -> None:
    study = reported.confirmed(reported.searched(tmp_path, (4, 4)), top=1, early=was_early)
    record_test_use(study, next(plans(study)))
    request = ConfirmRequest("study", Home(tmp_path), 1, 10, Execution(Resources(1, 1, 0.0)), early=early)
    plan = confirm_command._plan(study, request, load_pairs("digits"), QUIET)
    assert (plan.number, plan.early) == (number, was_early if number == 1 else early)
    assert all(run.result() is not None for run in runs_of(study, plan)) == (number == 1)


# Again, with nothing left to train, or with what failed


def gone_on(study: Study, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """What going on with the newest plan says, and what it does: no Ray, no MLflow, no scores."""
    done: list[str] = []

    @contextmanager
    def trains(study: Study, pairs: Pairs, execution: Execution, activity: str, tasks: int, console: Console) -> Any:
        done.append(f"session for {tasks}")
        yield Session(StopRequest(), None)  # type: ignore[arg-type]

    def trained(study: Study, plan: Plan, runs: list[ConfirmRun], left: list[ConfirmRun], *_: object) -> None:
        done.extend(run.name for run in left)

    monkeypatch.setattr(confirm_command, "session", trains)
    monkeypatch.setattr(confirm_command, "_train", trained)
    monkeypatch.setattr(confirm_command, "_score", lambda *_: done.append("scored"))
    monkeypatch.setattr(confirm_command, "caught_up", lambda *_: done.append("caught up"))
    said = io.StringIO()
    plan = list(plans(study))[-1]
    console = Console(file=said, width=300)
    confirm_command._gone_on(study, plan, load_pairs("digits"), Execution(Resources(1, 1, 0.0)), console)
    return said.getvalue(), done


def fail(run: ConfirmRun) -> None:
    result = run.result()
    assert result is not None
    run.finish(result.model_copy(update={"end": "failed", "reason": "its worker died", "best": None}))


def test_a_confirmation_that_was_stopped_after_its_last_run_is_scored_without_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = reported.confirmed(reported.searched(tmp_path, (4, 4)), top=1, seeds=2)
    (study.folder / "confirm/1/results.json").unlink()
    assert gone_on(study, monkeypatch) == ("", ["scored", "caught up"])


def test_what_failed_is_trained_again_until_there_are_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = reported.confirmed(reported.searched(tmp_path, (4, 4)), top=1, seeds=2)
    runs = runs_of(study, next(plans(study)))
    for run in (runs[1], runs[2]):
        fail(run)
    said, done = gone_on(study, monkeypatch)
    assert said == (
        "Confirmation 1 of study study has its 2 seeds already\n"
        f"Runs that failed: 2, the first one {runs[1].name}. Their settings are not compared; a confirmation with more "
        "seeds trains them again\n"
    )
    assert done == ["caught up"]
    (study.folder / "confirm/1/results.json").unlink()
    said, done = gone_on(study, monkeypatch)
    assert said.splitlines() == [
        f"Runs that failed are trained again: 2, the first one {runs[1].name}",
        f"Runs that failed: 2, the first one {runs[1].name}. Their settings are not compared; a confirmation with more "
        "seeds trains them again",  # here nothing was trained
    ]
    assert done == ["session for 2", runs[1].name, runs[2].name, "scored"]


@pytest.mark.parametrize("finished", [True, False])
def test_the_same_settings_in_another_order_are_the_same_confirmation(finished: bool, tmp_path: Path) -> None:
    study = reported.confirmed(reported.searched(tmp_path, (4, 4)), top=2)
    (plan,) = plans(study)
    save_plan(study, plan.model_copy(update={"arms": plan.arms[::-1]}))
    if not finished:
        (study.folder / "confirm/1/results.json").unlink()
    record_test_use(study, plan)
    request = ConfirmRequest("study", Home(tmp_path), 2, 10, Execution(Resources(1, 1, 0.0)))
    found = confirm_command._plan(study, request, load_pairs("digits"), QUIET)
    assert (found.number, found.arms) == (1, plan.arms[::-1])
    assert [own.number for own in plans(study)] == [1]


# A loss that fails


def searched(root: Path, **losses: tuple[float, Ending]) -> Study:
    """A study whose search is over: each loss has one trial, with this learning rate and this end."""
    fixed = {"clip_norm": None, "model.depth": 12, "model.layer_norm": False}
    for loss, (lr, _) in losses.items():
        space = {"loss_fn": loss, "space": {"lr": {"choices": [lr]}}, "fixed": fixed, "study": {"sampler": "grid"}}
        (root / f"{loss}.yaml").write_text(yaml.safe_dump(space))
    spaces = load_spaces([str(root / f"{loss}.yaml") for loss in losses])
    settings = merged_settings(spaces, {"max_epochs": 2, "grace_epochs": 2, "trials": 1})
    study = create_study(Home(root), "study", spaces, settings, "digits", load_pairs("digits").digest)
    storage = study.storage()
    for space in spaces:
        lr, ending = losses[space.loss_fn]
        trials = LossTrials(storage, space.name, space)
        trials.end(trials.add({"lr": lr}, seed=0), ending)
        flat = {**space.settings({"lr": lr}), **settings.training("digits", 1), "seed": 0}
        folder = study.trials_folder / trials[0].name
        RunDirectory(folder, 1).start(TrainConfig.from_flat(flat))
        for epoch in range(1, ending.epochs + 1):
            value = (ending.best or 0.0) * epoch / ending.epochs
            record: Record = {"epoch": epoch, settings.objective: value, "seconds": 0.1}
            append_durably(folder / HISTORY_FILE, history_line(record).encode())
    return study


def test_losses_that_diverge_are_listed_and_the_others_compared(
    ray_address: str, tmp_path: Path, untracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has a setting that was good in the search and diverges with every seed, another diverged already there.

    A third learns nothing, and gets no fifth seed from a look whose level suits so few of them.
    """
    monkeypatch.setattr(looks, "ERROR", 0.9)
    searched(
        tmp_path,
        mse=(100.0, used_up(0.5, 2, 2)),
        huber=(100.0, diverged(1)),
        cosine=(0.001, used_up(0.2, 2, 2)),
        infonce=(1e-9, used_up(0.1, 2, 2)),
    )
    done = confirm_it(tmp_path, ray_address, seeds=5, early=True)
    comparison = compare(done.study)
    assert set(comparison.failed) == {"mse", "huber"}
    assert comparison.failed["mse"] == "5 of 5 runs failed or diverged (diverged)"
    assert comparison.winner == "cosine"
    picks = {row.loss: row for row in comparison.rows if row.role == "pick"}
    assert list(picks) == ["cosine", "infonce"]
    assert (picks["infonce"].seeds, picks["infonce"].lost_to) == (4, "cosine-0000")
    trained = {path.name for path in (done.study.folder / "confirm/runs/infonce-0000").iterdir()}
    assert trained == {f"seed-0{seed}" for seed in range(4)}
    assert [(pair.seeds, pair.verdict) for pair in comparison.pairs] == [(4, "too few seeds")] * 2
    assert any("infonce after 4 seeds" in sentence for sentence in answer_sentences(comparison))
    assert all(math.isfinite(row.test["mrr"].value) for row in comparison.rows)
