"""MLflow holds what the truth says, also of a trial whose history became shorter: on MLflow's own SQLite store."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_length_limit, _validate_metric_name

from losstune.trainer.run.history import history_line
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.trainer.score.names import can_be_a_name
from losstune.tuning.storage.study_files import FolderFiles
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import Ending
from losstune.tuning.track import mlflow_sync
from losstune.tuning.track.mlflow_sync import SERVER_WRITERS, Tracker
from losstune.tuning.track.runs import RunPicture, study_picture
from tests.trainer.samples import refusal
from tests.tuning.reported import curve, point_of, searched, write_run

POINT = point_of("infonce", 0.5, 4)


def shown(client: MlflowClient, name: str) -> list[tuple[int, float]]:
    """A run's objective, epoch by epoch; there is one run of this name."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    history = client.get_metric_history(run.info.run_id, "val/mrr")
    return sorted((point.step, point.value) for point in history)


def write_epochs(study: Study, name: str, epochs: int) -> list[tuple[int, float]]:
    """A history of so many epochs; returns what is to be seen of it."""
    values = list(enumerate(curve(0.4, epochs), start=1))
    records = ({"epoch": e, "time": 100.0 + e, "seconds": 0.1, "lr": 0.01, "val/mrr": value} for e, value in values)
    (study.trials_folder / name / HISTORY_FILE).write_text("".join(map(history_line, records)))
    return values


@pytest.mark.parametrize("same_tracker", [True, False])
def test_epochs_that_are_no_longer_in_a_history_are_not_shown(tmp_path: Path, same_tracker: bool) -> None:
    """A worker that nobody reaches trains on; the trial goes on elsewhere, and ends before what that one wrote."""
    study, uri = searched(tmp_path, (0, 0)), f"sqlite:///{tmp_path}/mlflow.db"
    own = LossTrials(study.storage(), "infonce", study.spec.search_spaces()["infonce"])
    name = own[own.add(POINT, seed=0)].name
    write_run(study.trials_folder / name, own.space.settings(POINT), [])
    tracker, client = Tracker(study, uri), MlflowClient(uri)
    seen = write_epochs(study, name, 9)
    tracker.sync("search")
    assert shown(client, name) == seen
    seen = write_epochs(study, name, 3)
    own.end(0, Ending("pruned", "cut at rung 3", 3, curve(0.4, 3)[-1], 3))
    (tracker if same_tracker else Tracker(study, uri)).sync(None)
    assert shown(client, name) == seen


def test_a_trial_that_ends_while_files_are_brought_from_a_bucket_is_not_closed_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, uri = searched(tmp_path, (0, 0)), f"sqlite:///{tmp_path}/mlflow.db"
    own = LossTrials(study.storage(), "infonce", study.spec.search_spaces()["infonce"])
    own.end(own.add(POINT, seed=0), Ending("complete", "used its epochs", 9, 0.9, 9))  # the best, which has files too
    name = own[own.add(point_of("infonce", 0.7, 4), seed=1)].name
    write_run(study.trials_folder / name, own.space.settings(POINT), [])
    tracker = Tracker(study, uri)

    def bring_too_early(files: FolderFiles) -> None:
        own.end(1, Ending("pruned", "cut at rung 3", 3, curve(0.4, 3)[-1], 3))

    with monkeypatch.context() as patch:
        patch.setattr(FolderFiles, "update", bring_too_early)
        tracker.sync("search")
    seen = write_epochs(study, name, 3)
    tracker.sync(None)
    assert shown(MlflowClient(uri), name) == seen


def runs(client: MlflowClient) -> dict[str, Run]:
    """The runs that MLflow shows of the study, by name; each name is there once."""
    found = client.search_runs([client.get_experiment_by_name("study").experiment_id])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names)
    return {run.info.run_name: run for run in found}


def test_a_history_with_a_name_that_mlflow_refuses_is_shown_all_the_same(tmp_path: Path) -> None:
    """As a loss of the user's own could write it before there was a rule for names."""
    study, uri = searched(tmp_path, (1, 0)), f"sqlite:///{tmp_path}/mlflow.db"
    record = {"epoch": 1, "time": 100.0, "seconds": 0.1, "lr": 0.01, "val/mrr": 0.4, "train/acc@0.5": 0.75}
    (study.trials_folder / "infonce-0000" / HISTORY_FILE).write_text(history_line(record))
    Tracker(study, uri).sync(None)
    assert runs(MlflowClient(uri))["infonce-0000"].data.metrics["train/acc_0.5"] == 0.75


@given(st.text(st.sampled_from("a0ß_-.:/ @%\n\\") | st.characters(), max_size=210))
def test_what_a_part_may_be_named_mlflow_takes(name: str) -> None:
    if can_be_a_name(name):
        _validate_metric_name(f"train/{name}")
        _validate_length_limit("Metric name", MAX_ENTITY_KEY_LENGTH, f"train/{name}")


@pytest.fixture
def to_a_server(tmp_path: Path) -> tuple[Tracker, list[RunPicture]]:
    """A tracker that takes its store for a server, and runs that it has to write."""
    study = searched(tmp_path, (12, 0))
    tracker = Tracker(study, f"sqlite:///{tmp_path}/mlflow.db")
    tracker._store = None
    return tracker, [picture for picture in study_picture(study, study.trials(), None) if picture.parent is not None]


def test_a_server_gets_some_runs_at_a_time(
    to_a_server: tuple[Tracker, list[RunPicture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, pictures = to_a_server
    together, written = threading.Barrier(SERVER_WRITERS), []

    def write(picture: RunPicture) -> None:
        together.wait(timeout=60)  # until as many are written as can be
        written.append(picture.key)

    monkeypatch.setattr(tracker, "_sync_run", write)
    told: list[int] = []
    tracker._sync_runs(pictures, told.append)
    assert len(pictures) == 12 == sum(told)
    assert sorted(written) == [picture.key for picture in pictures]


def test_after_an_error_no_other_run_is_begun(
    to_a_server: tuple[Tracker, list[RunPicture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, pictures = to_a_server
    begun: list[str] = []

    def fail(picture: RunPicture) -> None:
        begun.append(picture.key)
        raise OSError(f"{picture.key}: the server is gone")

    monkeypatch.setattr(tracker, "_sync_run", fail)
    with pytest.raises(OSError, match="the server is gone"):
        tracker._sync_runs(pictures * 1000, lambda _: None)
    assert 1 <= len(begun) <= SERVER_WRITERS  # those that were begun before any had failed


def test_what_a_store_has_already_is_not_written_again(
    to_a_server: tuple[Tracker, list[RunPicture]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, _ = to_a_server
    tracker.sync(None)
    asked: list[str] = []
    for name in ("create_run", "log_batch", "log_inputs", "set_terminated", "set_tag", "update_run"):
        monkeypatch.setattr(tracker._client, name, lambda *args, called=name, **rest: asked.append(called))
    tracker.sync(None)
    assert asked == []


@pytest.mark.parametrize("server", [False, True])
def test_how_far_it_is_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: bool) -> None:
    """All runs, those that are there already too; thousands take a minute."""
    totals: list[int] = []
    done: list[int] = []

    @contextmanager
    def shown_if_long(what: str, total: int) -> Iterator[Callable[[int], None]]:
        totals.append(total)
        yield done.append

    monkeypatch.setattr(mlflow_sync, "shown_if_long", shown_if_long)
    monkeypatch.setattr(mlflow_sync, "RUNS_AT_ONCE", 3)
    tracker = Tracker(searched(tmp_path, (8, 3)), f"sqlite:///{tmp_path}/mlflow.db")
    if server:
        tracker._store = None
    tracker.sync(None)
    assert totals == [13] == [sum(done)]
    tracker.sync(None)
    assert totals == [13, 13]
    assert sum(done) == 26


@pytest.mark.parametrize("same_tracker", [True, False])
def test_nothing_is_deleted_for_a_storage_that_is_another_one(logged: tuple[Study, str], same_tracker: bool) -> None:
    """A shell without the variable that names the database: there is an empty file in its place."""
    study, uri = logged
    tracker, before = Tracker(study, uri), {name: run.info.run_id for name, run in runs(MlflowClient(uri)).items()}
    for path in study.folder.glob("optuna.db*"):
        path.unlink()
    if not same_tracker:
        assert refusal(Tracker, study, uri).startswith(f"{study.folder / 'optuna.db'}: is gone")
    study.store.create()
    tracker = tracker if same_tracker else Tracker(study, uri)
    tracker._storage = study.storage()
    assert "optuna.db does not know cosine-0000, cosine-0001, infonce-0000" in refusal(tracker.sync, None)
    assert {name: run.info.run_id for name, run in runs(MlflowClient(uri)).items()} == before


def test_nor_for_one_whose_files_are_brought_after_its_trials_are_read(
    logged: tuple[Study, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket: before, the folder has none of them."""
    study, uri = logged
    tracker, elsewhere = Tracker(study, uri), study.folder / "elsewhere"
    study.trials_folder.rename(elsewhere)
    for path in study.folder.glob("optuna.db*"):
        path.unlink()
    study.store.create()
    tracker._storage = study.storage()
    monkeypatch.setattr(FolderFiles, "update", lambda _: elsewhere.rename(study.trials_folder))
    assert "optuna.db does not know cosine-0000, cosine-0001, infonce-0000" in refusal(tracker.sync, None)
