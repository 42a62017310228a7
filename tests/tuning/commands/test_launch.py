"""Launches on a real Ray, read back from Optuna's storage, the history files and MLflow."""

import hashlib
import io
import math
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.convert import convert
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.history import read_history
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.train import train_run
from losstune.tuning.commands.export import export
from losstune.tuning.commands.launch import Outcome, _continued, _created, launch
from losstune.tuning.execute import asha, ray_private
from losstune.tuning.space.reader import shipped_names
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.kept_data import study_pairs
from losstune.tuning.study.messages import Report
from losstune.tuning.study.study import Study, create_study, open_study
from losstune.tuning.study.warm_start import earlier_trials
from tests.conftest import without_tracker
from tests.reliability.made import made
from tests.trainer.samples import sample_arrays, sample_trainer, timeless, train_to_end
from tests.tuning.conftest import request_for
from tests.tuning.reported import SPACES, point_of
from tests.tuning.samples import failed, settings_of, space_of, used_up

QUIET = Console(quiet=True)
Trials = dict[str, list[optuna.trial.FrozenTrial]]


def optuna_trials(study: Study) -> Trials:
    """As any Optuna program would read them."""
    url = f"sqlite:///{study.folder / 'optuna.db'}"
    names = {loss: study.optuna_name(loss) for loss in study.spec.spaces}
    return {loss: optuna.load_study(study_name=name, storage=url).trials for loss, name in names.items()}


def files_digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def known_to_tune() -> list[int]:
    """How many trials Tune knows of, each time after it was made to forget some."""
    return []


@pytest.fixture(scope="module")
def arrived() -> list[Report]:
    """What workers reported, in the order in which it was decided on."""
    return []


@pytest.fixture(scope="module")
def finished(
    ray_address: str, tmp_path_factory: pytest.TempPathFactory, known_to_tune: list[int], arrived: list[Report]
) -> Outcome:
    """A study of two losses, 45 epochs each, to 9 epochs a trial."""
    root = tmp_path_factory.mktemp("finished")
    request = request_for(root, ray_address, "mse", "infonce", max_epochs=9, epochs_per_loss=45, seed=3)

    def forget(controller: Any) -> None:
        ray_private.forget_ended(controller)
        known_to_tune.append(len(controller.get_trials()))

    decide = asha.AshaScheduler.on_trial_result

    def note(scheduler: Any, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        arrived.append(Report.from_result(result))
        return decide(scheduler, controller, trial, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asha, "forget_ended", forget)
        patch.setattr(asha.AshaScheduler, "on_trial_result", note)
        return launch(request, QUIET)


def test_tune_forgets_trials_that_have_ended(finished: Outcome, known_to_tune: list[int]) -> None:
    assert sum(map(len, optuna_trials(finished.study).values())) > 10
    assert 1 < max(known_to_tune) <= 5  # two in training, two that have just ended, one that is kept


def test_every_trial_has_ended_with_a_reason(finished: Outcome) -> None:
    for trials in optuna_trials(finished.study).values():
        assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
        assert all(trial.user_attrs["end"]["reason"] for trial in trials)


def test_losses_end_level_within_a_trial_a_slot(finished: Outcome) -> None:
    spent = {
        loss: sum(trial.user_attrs["end"]["epochs"] for trial in trials)
        for loss, trials in optuna_trials(finished.study).items()
    }
    assert all(45 <= epochs < 45 + 2 * 9 for epochs in spent.values()), spent


def test_optuna_and_the_history_files_hold_the_same_numbers(finished: Outcome) -> None:
    for loss, trials in optuna_trials(finished.study).items():
        for trial in trials:
            records = read_history(finished.study.trials_folder / f"{loss}-{trial.number:04d}" / "history.jsonl")
            values = [record["val/mrr"] for record in records]
            end = trial.user_attrs["end"]
            assert end["epochs"] == len(records)
            assert end["best"] == max(values)
            assert end["best_epoch"] == values.index(max(values)) + 1
            for epoch, value in trial.intermediate_values.items():
                assert value == max(values[:epoch])
            assert trial.value == max(values)
            assert max(trial.intermediate_values) == len(records)


def test_cuts_follow_the_rule_in_the_order_of_arrival(finished: Outcome, arrived: list[Report]) -> None:
    """Which trial comes first to a rung is a matter of two workers' speed."""
    for loss, trials in optuna_trials(finished.study).items():
        first = {report.number: report.best for report in arrived if (report.loss, report.epoch) == (loss, 3)}
        assert first == {trial.number: trial.intermediate_values[3] for trial in trials}
        went_on = {trial.number for trial in trials if max(trial.intermediate_values) > 3}
        expected, there = set(), []
        for number, value in first.items():
            there = sorted([*there, (-value, number)])
            if there.index((-value, number)) < max(1, len(there) // 3):
                expected.add(number)
        assert went_on == expected


def test_mlflow_holds_the_same_numbers(finished: Outcome) -> None:
    client = MlflowClient(f"sqlite:///{finished.study.home.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = {run.info.run_name: run for run in runs if "losstune.trial" in run.data.tags}
    parents = {run.info.run_name: run for run in runs if "losstune.trial" not in run.data.tags}
    assert set(parents) == {"mse", "infonce"}
    assert {run.info.status for run in parents.values()} == {"FINISHED"}
    for loss, trials in optuna_trials(finished.study).items():
        for trial in trials:
            run = children.pop(f"{loss}-{trial.number:04d}")
            folder = finished.study.trials_folder / run.info.run_name
            assert run.info.status == ("FINISHED" if trial.state.name == "COMPLETE" else "KILLED")
            assert run.data.tags["mlflow.parentRunId"] == parents[loss].info.run_id
            assert run.data.tags["losstune.reason"] == trial.user_attrs["end"]["reason"]
            assert run.data.params == {k: str(v) for k, v in read_config(folder / "config.yaml").settings.items()}
            for name in ("val/mrr", "train/loss", "val/cosine_sim", "val/recall_at_10"):
                logged = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
                assert logged == {int(r["epoch"]): r[name] for r in read_history(folder / "history.jsonl")}
    assert not children


def test_mlflow_has_the_files_of_the_best_of_each_loss(finished: Outcome) -> None:
    client = MlflowClient(f"sqlite:///{finished.study.home.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    for parent in client.search_runs([experiment.experiment_id], "tags.`losstune.best_trial` LIKE '%'"):
        best = parent.data.tags["losstune.best_trial"]
        (run,) = client.search_runs([experiment.experiment_id], f"tags.`losstune.trial` = '{best}'")
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"best.pt", "config.yaml"}


def test_launching_again_trains_nothing_and_completes_what_was_cut_short(
    finished: Outcome, ray_address: str, tmp_path: Path
) -> None:
    """The last process died between a trial's end and its state, before MLflow had anything."""
    shutil.copytree(finished.study.home.root / "studies", tmp_path / "studies")
    study = open_study(Home(tmp_path), finished.study.spec.name)
    before = files_digest(study.trials_folder)
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        storage.execute("UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = 1")
    launch(request_for(tmp_path, ray_address, "mse", "infonce"), QUIET)
    assert files_digest(study.trials_folder) == before
    expected = {loss: [trial.state for trial in own] for loss, own in optuna_trials(finished.study).items()}
    assert {loss: [trial.state for trial in own] for loss, own in optuna_trials(study).items()} == expected
    runs = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["1"])
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    assert len(runs) > sum(map(len, expected.values()))


def test_the_export_trains_to_the_same_curve(finished: Outcome, tmp_path: Path) -> None:
    exported = export(finished.study, None, tmp_path / "best.yaml")
    file = read_config(tmp_path / "best.yaml")
    config = TrainConfig.from_flat(file.settings)
    assert (config.threads, config.horizon, config.num_epochs) == (1, 9, 9)
    assert {"study", "trial", "metric", "value", "versions", "data_digest"} <= set(file.source)
    train_run(config, load_pairs(config.data), RunDirectory(tmp_path / "final"), QUIET, resume=False)
    searched = read_history(finished.study.trials_folder / exported.trial / "history.jsonl")
    final = read_history(tmp_path / "final" / "history.jsonl")
    for before, after in zip(searched, final, strict=False):
        for name in (name for name in before if name.startswith("val/")):
            assert after[name] == pytest.approx(before[name], abs=1e-6)


@dataclass(frozen=True)
class Extended:
    """A study that went on with a larger budget, in a space that grew.

    Its third trial waited then, proposed in the space of before, with a checkpoint that is none in its folder.
    """

    study: Study
    kept: dict[str, str]
    damaged: Path
    said: str


@pytest.fixture(scope="module")
def extended(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Extended:
    root, said = tmp_path_factory.mktemp("extended"), io.StringIO()
    with without_tracker():
        study = launch(request_for(root, ray_address, "cosine", max_epochs=3, trials=2), QUIET).study
        kept = files_digest(study.trials_folder)
        damaged = study.trials_folder / "cosine-0002" / "last.pt"
        damaged.parent.mkdir()
        damaged.write_bytes(b"nothing")
        own = study.open_trials(study.storage())["cosine"]
        own.pause(own.add({**own[0].point, "weight_decay": 0.02}, seed=5))
        source = study.spec.spaces["cosine"]
        grew = {"batch_size": {"choices": [8, *source["space"]["batch_size"]["choices"]]}}
        wider = write_space(root / "wider.yaml", **{**source, "space": source["space"] | grew})
        request = replace(request_for(root, ray_address, wider, trials=4), accept_change=True)
        study = launch(request, Console(file=said, width=200)).study
    return Extended(study, kept, damaged, said.getvalue())


def test_a_larger_budget_extends_and_keeps_what_was(extended: Extended) -> None:
    assert extended.kept.items() <= files_digest(extended.study.trials_folder).items()
    assert len(optuna_trials(extended.study)["cosine"]) == 4
    assert open_study(extended.study.home, "study").spec.settings.trials == 4


def test_a_space_that_grew_goes_on_with_its_trials(extended: Extended) -> None:
    study = extended.study
    assert "Note: what is searched for cosine grew; its 3 trials go on in it" in extended.said
    trials = optuna_trials(study)["cosine"]
    url = f"sqlite:///{study.folder / 'optuna.db'}"
    before = optuna.load_study(study_name="cosine", storage=url).trials
    assert [trial.state.name for trial in before] == ["COMPLETE", "COMPLETE", "WAITING"]
    assert [trial.params for trial in trials[:3]] == [trial.params for trial in before]
    assert [trial.values for trial in trials[:2]] == [trial.values for trial in before[:2]]
    assert {trial.distributions["batch_size"].choices[0] for trial in trials} == {8}
    assert [len(own) for own in audited_trials(open_study(study.home, "study")).values()] == [4]


def test_a_damaged_checkpoint_is_said_and_its_trial_trained_again(extended: Extended) -> None:
    assert [trial.state.name for trial in optuna_trials(extended.study)["cosine"]] == ["COMPLETE"] * 4
    assert f"checkpoint {extended.damaged}: cut short, or not written by losstune" in extended.said
    assert "trained again from its first epoch" in extended.said


def poison(pairs: Pairs, rows: np.ndarray) -> Pairs:
    inputs, targets = pairs.inputs.copy(), pairs.targets.copy()
    inputs[rows] = np.nan
    targets[rows] = np.nan
    return Pairs(pairs.source, inputs, targets, pairs.ids, pairs.split, pairs.digest)


def write_space(path: Path, loss_fn: str, **sections: object) -> str:
    path.write_text(yaml.safe_dump({"loss_fn": loss_fn, **sections}, sort_keys=False))
    return str(path)


@pytest.fixture(scope="module")
def ill(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One of two trials of mse diverges, and says where.

    Between the extremes, at which a space is checked, cosine_mse's lr is 0.
    """
    root = tmp_path_factory.mktemp("ill")
    wild = write_space(
        root / "wild.yaml",
        "mse",
        space={"lr": {"choices": [100.0, 0.001]}},
        fixed={"clip_norm": None, "model.depth": 12, "model.layer_norm": False},
    )
    weights = write_space(
        root / "weights.yaml",
        "cosine_mse",
        space={"cosine_weight": {"low": 0.5, "high": 1.5, "step": 0.5}},
        derived={"lr": "(cosine_weight - 1) * (cosine_weight - 1) / 100"},
    )
    settings = {"sampler": "grid", "max_epochs": 3, "grace_epochs": 3, "trials": 3}
    with without_tracker():
        request = request_for(root, ray_address, wild, weights, **settings)
        return launch(replace(request, debug_nan=True), QUIET).study


def test_a_diverging_trial_is_pruned_told_nan_and_ranked_last(ill: Study, tmp_path: Path) -> None:
    wild, calm = optuna_trials(ill)["mse"]
    assert wild.state.name == "PRUNED"
    reason = wild.user_attrs["end"]["reason"]
    assert re.fullmatch(r"diverged: first inf in `\w+` at losstune/trainer/.+, in epoch 1, batch \d+", reason)
    assert math.isnan(wild.intermediate_values[max(wild.intermediate_values)])
    assert calm.state.name == "COMPLETE"
    assert export(ill, "mse", tmp_path / "best.yaml").trial == "mse-0001"


def test_an_exception_fails_its_trial_alone(ill: Study) -> None:
    ends = {
        trial.params["cosine_weight"]: (trial.state.name, trial.user_attrs["end"]["reason"])
        for trial in optuna_trials(ill)["cosine_mse"]
    }
    assert {weight: state for weight, (state, _) in ends.items()} == {0.5: "COMPLETE", 1.0: "FAIL", 1.5: "COMPLETE"}
    assert "lr" in ends[1.0][1]


def test_a_time_budget_ends_the_study_and_leaves_nothing_running(
    ray_address: str, tmp_path: Path, untracked: None
) -> None:
    """Rungs stand close at first, and alone at its rungs no trial is cut: the end comes soon after the time is up."""
    request = request_for(
        tmp_path, ray_address, "mse", "cosine", max_epochs=10_000, trials=1, reduction_factor=2, time_budget=1.0
    )
    study = launch(request, QUIET).study
    for (trial,) in optuna_trials(study).values():
        assert (trial.state.name, trial.user_attrs["end"]["reason"]) == ("PRUNED", "time budget")


@pytest.mark.parametrize(("trials", "each"), [(6, ["other "]), (0, [])], ids=["one of two", "the only one"])
def test_a_loss_that_can_not_be_trained_is_said_again_at_the_next_launch(
    trials: int, each: list[str], tmp_path: Path, untracked: None
) -> None:
    spaces = [space_of(SPACES[loss]) for loss in ("infonce", "cosine")[not trials :]]
    settings = settings_of(max_epochs=9, trials=6)
    study = create_study(Home(tmp_path), "study", spaces, settings, "digits", load_pairs("digits").digest)
    ends = {"infonce": [used_up(0.5, 9, 9)] * trials, "cosine": [failed()] * 10}
    for loss, own in study.open_trials(study.storage()).items():
        for number, ending in enumerate(ends[loss]):
            own.end(own.add(point_of(loss, 0.09 * number, number), seed=number), ending)
    said = io.StringIO()
    launch(request_for(tmp_path, None), Console(file=said, width=200))
    assert said.getvalue().splitlines() == [
        "cosine starts no more trials: 10 have failed, and none has a value (its worker died); once the cause is "
        "mended, the same command with --retry-failed tries them again and goes on",
        *(f"Study study has used its budget of 6 trials for each {other}loss" for other in each),
    ]


def test_a_loss_that_was_dropped_is_in_the_race_again_where_its_space_grew(tmp_path: Path) -> None:
    spaces = [space_of(SPACES[loss]) for loss in ("infonce", "cosine")]
    settings = settings_of(max_epochs=9, race=True)
    study = create_study(Home(tmp_path), "study", spaces, settings, "digits", load_pairs("digits").digest)
    drop = Dropped("infonce", 0.241, 0.262, 0.001, 90, "cosine", 0.337, 21, 180, "epochs")
    study.open_trials(study.storage())["infonce"].drop(drop.to_dict())
    grew = {"temperature": {"low": 0.01, "high": 2.0, "log": True}}
    wider = write_space(tmp_path / "wider.yaml", "infonce", space=study.spec.spaces["infonce"]["space"] | grew)
    cosine = write_space(tmp_path / "cosine.yaml", **study.spec.spaces["cosine"])
    said = io.StringIO()
    asked = replace(request_for(tmp_path, None, wider, cosine), accept_change=True)
    with _continued(asked, Console(file=said, width=200)) as (went_on, _):
        assert went_on.dropped() == []
    assert said.getvalue() == (
        "Note: what is searched for infonce grew; its 0 trials go on in it, and it is in the race again\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_epochs": 4}, "max_epochs: 9 in the study, 4 now"),
        ({"seed": 9}, "seed: 3 in the study, 9 now"),
        ({"sampler": "random"}, "sampler: gp in the study, random now"),
    ],
)
def test_changed_settings_are_refused(finished: Outcome, change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        launch(request_for(finished.study.home.root, None, **change), QUIET)


def test_other_data_is_refused(finished: Outcome, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "other.npz", inputs=rng.normal(size=(300, 3)), targets=rng.normal(size=(300, 3)))
    other = make_pairs(dict(np.load(tmp_path / "other.npz")), "other")
    with pytest.raises(UserError, match=f"data: SHA-256 .* in the study, {other.digest[:12]} now"):
        launch(request_for(finished.study.home.root, None, data=str(tmp_path / "other.npz")), QUIET)


@pytest.mark.parametrize(
    ("rows", "given", "kept"), [(12_000, {}, 1024), (12_000, {"eval_queries": "all"}, "all"), (8000, {}, "all")]
)
def test_a_new_study_keeps_the_number_of_rows_that_its_trials_are_scored_on(
    rows: int, given: dict[str, object], kept: int | str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "made.npz", **sample_arrays(rows=rows))  # type: ignore[arg-type]
    with _created(request_for(tmp_path, None, "infonce", data=str(tmp_path / "made.npz"), **given), QUIET):
        pass
    settings = open_study(Home(tmp_path), "study").spec.settings
    assert settings.eval_queries == settings.training("made.npz", 1)["eval_queries"] == kept


def test_a_study_on_small_data_freezes_what_is_left_of_a_space_and_the_same_command_continues(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "made.npz", **sample_arrays(rows=240))  # type: ignore[arg-type]
    asked = request_for(tmp_path, None, "guide_3_infonce", data=str(tmp_path / "made.npz"))
    told = Console(file=io.StringIO(), width=200)
    with _created(asked, told):
        pass
    for again in (asked, replace(asked, spaces=[])):
        with _continued(again, told) as (study, _):
            left = {loss: space["space"]["batch_size"]["choices"] for loss, space in study.spec.spaces.items()}
            assert left == {"infonce": [32]}
    output = told.file.getvalue()  # type: ignore[attr-defined]
    assert output.count("guide_3_infonce.yaml: batch_size 64 left out: ") == 1


def test_a_study_goes_on_with_the_same_pairs_in_another_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {**sample_arrays(rows=400), "ids": np.array([f"doc-{row}" for row in range(400)])}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    pd.DataFrame({name: list(array) for name, array in arrays.items()}).to_parquet(tmp_path / "a.parquet")
    convert([str(tmp_path / "a.parquet")], tmp_path / "folder")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "form_of_pairs.py").write_text(
        f"import numpy as np\n\n\ndef pairs():\n    return dict(np.load({str(tmp_path / 'a.npz')!r}))\n"
    )
    asked = request_for(tmp_path, None, "cosine", data=str(tmp_path / "a.npz"))
    with _created(asked, QUIET) as (_, first):
        pass
    for form in (str(tmp_path / "a.parquet"), str(tmp_path / "folder"), "form_of_pairs:pairs", arrays):
        with _continued(replace(asked, data=form), QUIET) as (study, pairs):
            assert pairs.digest == first.digest == study.spec.data_digest
            assert np.array_equal(split_rows(pairs, 0).test, split_rows(first, 0).test)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_new_study_keeps_how_its_arrays_are_named(tmp_path: Path, in_memory: bool) -> None:
    """Arrays in memory it keeps under their own names."""
    plain = sample_arrays(rows=1000)
    arrays = {"anchor": plain["inputs"], "positive": plain["targets"], "text": np.arange(1000)}
    np.savez(tmp_path / "made.npz", **arrays)  # type: ignore[arg-type]
    asked = request_for(tmp_path, None, "infonce", data=arrays if in_memory else str(tmp_path / "made.npz"))
    with _created(replace(asked, columns="inputs=anchor,targets=positive"), QUIET) as (_, pairs):
        assert pairs.unused == ("text",)
    study = open_study(Home(tmp_path), "study")
    assert study.spec.columns == (None if in_memory else "inputs=anchor,targets=positive")
    assert study_pairs(study).digest == study.spec.data_digest == load_pairs(plain).digest


SHIPPED = [
    ("mse", "cosine", "cosine_mse", "infonce", "siglip", "triplet", "full_softmax", "infonce_cosine", "huber"),
    ("guide_1_mse", "guide_1_cosine", "guide_2_infonce"),
    ("guide_template_mse", "guide_template_cosine", "guide_template_cosine_mse", "guide_template_infonce"),
    ("guide_3_infonce",),
]


def test_the_list_of_shipped_spaces_is_complete() -> None:
    assert sorted(name for names in SHIPPED for name in names) == shipped_names()


@pytest.mark.parametrize("spaces", [SHIPPED[0], *(pytest.param(own, marks=pytest.mark.slow) for own in SHIPPED[1:])])
def test_every_shipped_space_trains_and_reads_no_test_row(
    spaces: tuple[str, ...], ray_address: str, tmp_path: Path, untracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After loading, the test rows become NaN; a study sees no difference."""
    pairs = load_pairs("digits")
    poisoned = poison(pairs, split_rows(pairs, 0).test)
    monkeypatch.setattr("losstune.tuning.commands.launch.load_pairs", lambda *_: poisoned)
    short = {"max_epochs": 1, "grace_epochs": 1, "trials": 1, "objective": "val/mrr"}
    study = launch(request_for(tmp_path, ray_address, *spaces, **short), QUIET).study
    ends = [trial.user_attrs["end"] for trials in optuna_trials(study).values() for trial in trials]
    assert [end["reason"] for end in ends] == ["used its epochs"] * len(spaces)
    assert all(math.isfinite(end["best"]) for end in ends)


@pytest.mark.slow
def test_trials_on_data_on_disk_train_as_on_the_same_arrays_in_memory(
    ray_address: str, tmp_path: Path, untracked: None
) -> None:
    (tmp_path / "pairs").mkdir()
    arrays = sample_arrays(rows=12_000)
    for name, array in arrays.items():
        np.save(tmp_path / "pairs" / f"{name}.npy", array)
    small = {"lr": {"low": 1e-3, "high": 1e-2, "log": True}}
    space = write_space(tmp_path / "own.yaml", "cosine", space=small, fixed={"model.hidden_dim": 8})
    short = {"trials": 2, "max_epochs": 3, "grace_epochs": 3}
    study = launch(request_for(tmp_path, ray_address, space, data=str(tmp_path / "pairs"), **short), QUIET).study
    in_memory = make_pairs(arrays, "sample")
    assert study.spec.data_digest == in_memory.digest
    assert study.spec.settings.eval_queries == 1024
    for number in range(2):
        trial = study.trials_folder / f"cosine-{number:04d}"
        trainer = sample_trainer(TrainConfig.from_flat(read_config(trial / "config.yaml").settings), in_memory)
        assert trainer.config.eval_queries == len(trainer.data.val or ()) == 1024
        assert timeless(read_history(trial / "history.jsonl")) == timeless(train_to_end(trainer))


@pytest.mark.slow
def test_a_study_runs_on_shares_of_gpus(ray_address: str, tmp_path: Path, untracked: None) -> None:
    short = {"max_epochs": 1, "grace_epochs": 1, "trials": 2}
    study = launch(request_for(tmp_path, ray_address, "mse", gpus=0.25, **short), QUIET).study
    assert [trial.state.name for trial in optuna_trials(study)["mse"]] == ["COMPLETE", "COMPLETE"]


def test_a_study_goes_on_with_what_it_took_over_though_the_other_one_is_gone(tmp_path: Path) -> None:
    other = made(tmp_path)
    space = tmp_path / "own.yaml"
    space.write_text(dedent(SPACES["infonce"]))
    asked = replace(request_for(tmp_path, None, str(space), name="new", trials=3, max_epochs=9), warm_start="study")
    with _created(asked, QUIET) as (study, _):
        before = earlier_trials(study)
    assert [trial.point for trial in before["infonce"]] == [trial.point for trial in other.trials()["infonce"]]
    other.delete()
    for warm_start in ("study", None):
        with _continued(replace(asked, warm_start=warm_start), QUIET) as (study, _):
            assert earlier_trials(study) == before
            assert study.trials() == {"infonce": []}
    with (
        pytest.raises(UserError, match="warm_start: study in the study, third now"),
        _continued(replace(asked, warm_start="third"), QUIET),
    ):
        pass


def test_a_space_that_grew_is_checked_against_the_data_before_it_is_gone_on_in(tmp_path: Path) -> None:
    study = made(tmp_path)
    spaces = [tmp_path / f"{loss}.yaml" for loss in SPACES]
    for path, text in zip(spaces, SPACES.values(), strict=True):
        path.write_text(dedent(text))
    grew = f"{spaces[0].read_text()}  batch_size: {{choices: [32, 9999]}}\n"
    spaces[0].write_text(grew)
    request = replace(request_for(tmp_path, None, *map(str, spaces)), accept_change=True)
    with pytest.raises(UserError, match="batch_size 9999: digits: ") as error, _continued(request, QUIET):
        pass
    assert str(error.value).startswith(f"{spaces[0]}: ")
    assert open_study(study.home, "study") == study
    assert [found.study_name for found in study.storage().get_all_studies()] == ["infonce", "cosine"]
    spaces[0].write_text(grew.replace("9999", "16"))
    with _continued(request, QUIET) as (now, _):
        assert now.optuna_name("infonce") == "infonce@2"
    assert [found.study_name for found in study.storage().get_all_studies()] == ["infonce", "cosine", "infonce@2"]
