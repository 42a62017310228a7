"""MLflow that fails, hangs, is slow, or dies: the study goes on, says what is missing, and sync brings all of it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study
from losstune.tuning.track.description import NOTE_TAG, OWN_NOTE_TAG
from losstune.tuning.track.logged_runs import PARENT_TAG
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.process import PATIENCE_SECONDS
from losstune.tuning.track.runs import RUN_TAG
from tests.reliability.faulty_server import free_port, serving, stop
from tests.reliability.made import made
from tests.reliability.studies import (
    SHORT,
    in_time,
    leaderboard,
    optuna_trials,
    run,
    slowness,
    start,
    undisturbed,
    wait_for,
    workers,
)
from tests.reliability.tallies import Recorder

LACKS = "MLflow lacks a part of this study"
SLOWER = 2.0
"""Nothing of MLflow may make a search take so many times as long: a request that hangs takes twenty seconds, longer
than a whole search; a busy machine alone has made 1.6."""

Runs = dict[str, dict[str, Any]]


def shown(database: Path) -> Runs:
    """All that MLflow has of every run by its name; ids and places of artifacts left out."""
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = {run.info.run_id: run.info.run_name for run in runs}
    assert len(set(names.values())) == len(runs), f"two runs have one name: {sorted(names.values())}"
    found: Runs = {}
    for mlflow_run in runs:
        tags = dict(mlflow_run.data.tags)
        if PARENT_TAG in tags:
            tags[PARENT_TAG] = names[tags[PARENT_TAG]]
        found[mlflow_run.info.run_name] = {
            "status": mlflow_run.info.status,
            "times": (mlflow_run.info.start_time, mlflow_run.info.end_time),
            "params": mlflow_run.data.params,
            "tags": tags,
            "metrics": metric_rows(database, mlflow_run.info.run_id),
            "files": sorted((file.path, file.file_size) for file in client.list_artifacts(mlflow_run.info.run_id)),
        }
    assert not any(run["status"] == "RUNNING" for run in found.values())
    return found


def metric_rows(database: Path, run_id: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        columns = "key, value, timestamp, step, is_nan"
        return sorted(connection.execute(f"SELECT {columns} FROM metrics WHERE run_uuid = ?", (run_id,)).fetchall())


def everything(database: Path) -> list[str]:
    """Every row of every table."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def check_brought(root: Path, partly: Path | None = None) -> None:
    """``losstune sync`` completes what MLflow has a part of, as if from nothing, and doing it again changes nothing."""
    store, fresh = partly or root / "mlflow.db", root / "fresh.db"
    for database in (store, fresh):
        run(root, "sync", "study", "--tracking-uri", f"sqlite:///{database}")
    assert shown(store) == shown(fresh)
    assert set(shown(store)) == {
        *(loss for loss in optuna_trials(root, "study")),
        *(folder.name for folder in (root / "studies/study/trials").iterdir()),
    }
    before = everything(store)
    run(root, "sync", "study", "--tracking-uri", f"sqlite:///{store}")
    assert everything(store) == before


# The tracker alone


def test_runs_made_twice_and_strays_go_and_a_users_own_run_stays(tmp_path: Path, record: Recorder) -> None:
    study, uri = made(tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    Tracker(study, uri).sync(None)
    expected = shown(tmp_path / "mlflow.db")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    for key in ("infonce-0002", "cosine", "infonce-0099"):
        client.create_run(experiment.experiment_id, tags={RUN_TAG: key}, run_name=key)
    own = client.create_run(experiment.experiment_id, tags={"note": "mine"}, run_name="my own")
    client.log_metric(own.info.run_id, "mine", 1.0)
    client.set_terminated(own.info.run_id)
    Tracker(study, uri).sync(None)
    found = shown(tmp_path / "mlflow.db")
    assert found.pop("my own")["metrics"][0][:2] == ("mine", 1.0)
    assert found == expected
    before = everything(tmp_path / "mlflow.db")
    Tracker(study, uri).sync(None)
    assert everything(tmp_path / "mlflow.db") == before
    record(5, "runs made twice, strays", injected=3)


@pytest.mark.torture
def test_what_is_deleted_in_mlflow_comes_back_with_its_notes(tmp_path: Path, record: Recorder) -> None:
    study, uri = made(tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    Tracker(study, uri).sync(None)
    client = MlflowClient(uri)
    ids = {run.info.run_name: run.info.run_id for run in runs_of_the_study(client)}
    for name in ("infonce", "infonce-0002"):
        client.set_tag(ids[name], "mlflow.note.content", "for the paper")
    expected = shown(tmp_path / "mlflow.db")
    for name in ("infonce", "infonce-0002"):
        client.delete_run(ids[name])
        Tracker(study, uri).sync(None)
        assert shown(tmp_path / "mlflow.db") == expected
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    Tracker(study, uri).sync(None)
    assert shown(tmp_path / "mlflow.db") == expected
    assert client.get_experiment(experiment.experiment_id).lifecycle_stage == "active"
    assert {run.info.run_name: run.info.run_id for run in runs_of_the_study(client)} == ids
    record(5, "an experiment, a loss's run, a trial's deleted in MLflow", injected=3)


@pytest.mark.torture
def test_a_folder_that_moved_has_everything_where_it_is(tmp_path: Path, record: Recorder) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    study = made(before)
    best = max(study.trials()["infonce"], key=lambda trial: trial.rank_value)
    (study.trials_folder / best.name / "best.pt").write_bytes(b"the best")
    Tracker(study, f"sqlite:///{before / 'mlflow.db'}").sync(None)
    expected = shown(before / "mlflow.db")
    before.rename(after)
    uri = f"sqlite:///{after / 'mlflow.db'}"
    Tracker(open_study(Home(after), "study"), uri).sync(None)
    assert not before.exists()
    found = shown(after / "mlflow.db")
    for one in (*expected.values(), *found.values()):  # a description names the place, which is another now
        one["tags"].pop(OWN_NOTE_TAG, None)
        one["tags"][NOTE_TAG] = one["tags"].get(NOTE_TAG, "").replace(str(before), str(after))
    assert found == expected
    (run_id,) = [run.info.run_id for run in runs_of_the_study(MlflowClient(uri)) if run.info.run_name == best.name]
    assert Path(MlflowClient(uri).download_artifacts(run_id, "best.pt")).read_bytes() == b"the best"
    record(5, "the folder moved")


def runs_of_the_study(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_runs_that_are_made_anew_start_when_the_trials_did(tmp_path: Path) -> None:
    study = made(tmp_path / "root")
    Tracker(study, f"sqlite:///{tmp_path / 'fresh.db'}").sync(None)
    found = {
        run.info.run_name: run.info for run in runs_of_the_study(MlflowClient(f"sqlite:///{tmp_path / 'fresh.db'}"))
    }
    for loss, trials in optuna_trials(tmp_path / "root", "study").items():
        spans = {}
        for trial in trials:
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
            spans[trial.number] = [
                round(at.timestamp() * 1000) for at in (trial.datetime_start, trial.datetime_complete)
            ]
            run = found[f"{loss}-{trial.number:04d}"]
            assert [run.start_time, run.end_time] == pytest.approx(spans[trial.number], abs=1)
        assert found[loss].start_time == pytest.approx(min(start for start, _ in spans.values()), abs=1)
        assert found[loss].end_time == pytest.approx(max(end for _, end in spans.values()), abs=1)


# Whole studies


def search_seconds(root: Path) -> float:
    """From the first trial's start to the last one's end."""
    trials = [trial for own in optuna_trials(root, "study").values() for trial in own]
    began = min(trial.datetime_start for trial in trials if trial.datetime_start)
    ended = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    return (ended - began).total_seconds()


@dataclass
class Launched:
    """A study that searches while its MLflow has a fault."""

    root: Path
    process: subprocess.Popen[str]
    searched: float = field(default=0.0)
    ended: float = field(default=0.0)

    @classmethod
    def with_mlflow_at(cls, root: Path, uri: str) -> "Launched":
        return cls(root, start(root, *SHORT, "--tracking-uri", uri))

    def wait_for_training(self) -> None:
        wait_for(lambda: any(self.root.glob("studies/study/trials/*/last.pt")), 60, "a trial trains")

    def wait_for_search(self) -> None:
        """Until its workers have gone: what remains is to wait for MLflow, which needs no processor."""
        wait_for(lambda: workers(self.process.pid), 60, "workers have come")
        wait_for(lambda: not workers(self.process.pid), 120, "workers have gone")
        self.searched = time.monotonic()
        threading.Thread(target=self._wait_for_end, daemon=True).start()

    def _wait_for_end(self) -> None:
        self.process.wait()
        self.ended = time.monotonic()

    def end(self) -> tuple[str, float]:
        """What it printed, and how long it waited for MLflow; the study itself is as if nothing had been."""
        out, _ = self.process.communicate(timeout=PATIENCE_SECONDS + 60)
        assert self.process.returncode == 0, out
        assert "Traceback" not in out
        assert leaderboard(self.root, "study") == leaderboard(undisturbed(*SHORT), "study")
        ratio = search_seconds(self.root) / search_seconds(undisturbed(*SHORT))
        assert ratio < SLOWER * slowness(), f"the search took {ratio:.2f} times as long"
        return out, self.ended - self.searched


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lt", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Mlflow:
    """A real MLflow server on loopback, and its database."""

    port: int
    database: Path


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[Mlflow]:
    port, database = free_port(), tmp_path / "server.db"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{database}", "--default-artifact-root", str(tmp_path / "artifacts")]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *stores, "--no-serve-artifacts"], stdout=log, stderr=log, start_new_session=True
        )

    def healthy() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
        return False

    try:
        wait_for(healthy, 60, "MLflow's server answers")
        yield Mlflow(port, database)
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        for one in (process, *below):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


@pytest.mark.torture
def test_a_study_ends_well_whatever_mlflow_answers(root: Path, record: Recorder) -> None:
    """The searches run one after the other; what each then waits for MLflow, it waits beside the next."""
    undisturbed(*SHORT)
    with serving("hang") as hang, serving("500") as fails, serving("429") as busy:
        uris = {"hang": hang.uri, "500": fails.uri, "429": busy.uri, "refuse": "http://127.0.0.1:1"}
        launches = {}
        for fault, uri in uris.items():
            launches[fault] = Launched.with_mlflow_at(root / fault, uri)
            launches[fault].wait_for_search()
        for fault, launched in reversed(launches.items()):
            out, waited = launched.end()
            assert LACKS in out
            assert f"{root}/{fault}/studies/study/tracker.log): losstune sync study" in out
            assert fault != "hang" or waited < (PATIENCE_SECONDS + 15) * slowness()
            record(5, fault, note=f"waited {waited:.0f} s at the end" if fault == "hang" else "")
        assert min(server.requests for server in (hang, fails, busy)) > 0
    check_brought(root / "hang")


@pytest.mark.torture
def test_a_server_that_is_slow_then_dies_in_mid_study(tmp_path: Path, mlflow_server: Mlflow, record: Recorder) -> None:
    """It has a part of the study; sync completes that part."""
    with serving("slow", mlflow_server.port) as server:
        launched = Launched.with_mlflow_at(tmp_path / "root", server.uri)
        wait_for(lambda: server.requests > 3, 60, "MLflow has a part")
        stop(server)
        out, _ = launched.end()
    assert LACKS in out
    check_brought(tmp_path / "root", mlflow_server.database)
    record(5, "slow, then dies")


@pytest.mark.torture
def test_answers_that_are_lost_leave_no_run_twice(tmp_path: Path, mlflow_server: Mlflow, record: Recorder) -> None:
    with serving("lost answers", mlflow_server.port) as server:
        launched = Launched.with_mlflow_at(tmp_path / "root", server.uri)
        launched.wait_for_search()
        launched.end()
    with closing(sqlite3.connect(mlflow_server.database)) as database:
        (made_twice,) = database.execute("SELECT count(*) - count(DISTINCT name) FROM runs").fetchone()
    assert made_twice > 0, "no answer to a create_run was lost"
    check_brought(tmp_path / "root", mlflow_server.database)
    record(5, "answers lost", injected=made_twice, note=f"{made_twice} runs made twice")


@pytest.mark.torture
def test_ctrl_c_while_mlflow_hangs(tmp_path: Path, record: Recorder) -> None:
    with serving("hang") as server:
        launched = Launched.with_mlflow_at(tmp_path, server.uri)
        launched.wait_for_training()
        wait_for(lambda: server.requests, 30, "the tracker hangs")
        began = time.monotonic()
        os.kill(launched.process.pid, signal.SIGINT)
        out, _ = launched.process.communicate(timeout=60)
        seconds = time.monotonic() - began
        assert in_time(began, 15)
    assert launched.process.returncode == 130
    assert "Traceback" not in out
    record(5, "hang, Ctrl-C", note=f"ended after {seconds:.1f} s")


@pytest.mark.torture
def test_mlflow_is_rebuilt_from_nothing(tmp_path: Path, record: Recorder) -> None:
    """What was logged live is what a sync from nothing makes."""
    shutil.copytree(undisturbed(*SHORT), tmp_path / "root")
    check_brought(tmp_path / "root")
    record(5, "mlflow.db deleted")
