"""The tracker's process as a launch sees it: how it is started, waited for, and what is said of it."""

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import SIGNALS, StopRequest
from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study
from losstune.tuning.track import process
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.process import TRACKING_URI, TrackerProcess, tracking_uri_of
from tests.trainer.samples import refusal
from tests.tuning.reported import searched

WAITS = "import sys; sys.stdin.read(); "
"""A tracker that ends when it is asked to."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, trials=(0, 0))


def started(study: Study, monkeypatch: pytest.MonkeyPatch, program: str) -> tuple[TrackerProcess, list[Any]]:
    """A tracker that runs this program in place of its own; and how it would have been called."""
    calls: list[Any] = []
    real = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        calls.append((command, options, signal.pthread_sigmask(signal.SIG_BLOCK, ())))
        return real([*command[: command.index("-m")], "-c", program], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    tracker = TrackerProcess(study, "postgresql://me:secret@db/runs", "search")
    assert calls == []
    tracker.start()
    return tracker, calls


def finished(tracker: TrackerProcess, stop: StopRequest | None = None) -> tuple[bool, str]:
    out = io.StringIO()
    whole = tracker.finish(Console(file=out, width=300), stop or StopRequest())
    return whole, out.getvalue()


def test_it_is_started_apart_deaf_to_signals_and_no_password_is_in_its_arguments(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, calls = started(study, monkeypatch, WAITS)
    ((command, options, blocked),) = calls
    assert command == [sys.executable, "-u", "-P", "-m", "losstune.tuning.commands.sync", "study", "search"]
    assert options["env"][TRACKING_URI] == "postgresql://me:secret@db/runs"
    assert options["start_new_session"] is True
    assert set(SIGNALS) <= blocked
    assert not set(SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())  # here they are heard again
    assert finished(tracker) == (True, "")


def test_what_the_tracker_of_a_killed_launch_still_writes_is_not_in_its_log(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (study.folder / process.LOG_FILE).open("w") as of_before:
        tracker, _ = started(study, monkeypatch, WAITS)
        of_before.write("note: of before\n")
        of_before.flush()
        assert finished(tracker) == (True, "")


def test_it_is_started_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, calls = started(study, monkeypatch, WAITS)
    tracker.start()
    assert finished(tracker) == (True, "")
    tracker.start()
    assert len(calls) == 1


def test_one_that_was_not_started_says_nothing(study: Study) -> None:
    tracker = TrackerProcess(study, None, "search")
    tracker.ask_to_finish()
    assert finished(tracker) == (False, "")
    assert not (study.folder / process.LOG_FILE).exists()


def test_what_it_notes_for_the_user_is_said_and_nothing_else(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, _ = started(study, monkeypatch, WAITS + "print('a warning of MLflow'); print('note: as a checkpoint')")
    assert finished(tracker) == (True, "as a checkpoint\n")


def test_one_that_fails_is_said_with_the_command_that_catches_up(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, _ = started(study, monkeypatch, WAITS + "print('a warning'); sys.exit('MLflow is down')")
    whole, said = finished(tracker)
    assert not whole
    assert said == (
        f"MLflow lacks a part of this study (MLflow is down; {study.folder / 'tracker.log'}): "
        f"losstune sync study{study.home.options()}\n"
    )


def test_one_that_does_not_end_is_ended_at_once_after_a_signal(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, _ = started(study, monkeypatch, "import time; time.sleep(600)")
    stop = StopRequest()
    stop.ask(signal.SIGTERM)
    stop.since -= process.STOPPED_SECONDS
    whole, said = finished(tracker, stop)
    assert not whole
    assert said.startswith("MLflow lacks a part")


def test_mlflows_store_is_beside_the_studies_unless_one_is_given(tmp_path: Path) -> None:
    assert tracking_uri_of(Home(tmp_path), None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri_of(Home(tmp_path), "http://mlflow") == "http://mlflow"


@pytest.mark.parametrize(("name", "found"), [("what?", "?"), ("My%20Data", "%20"), ("a%3fb", "%3f")])
def test_a_folder_that_mlflow_would_not_find_again_is_refused(tmp_path: Path, name: str, found: str) -> None:
    assert refusal(tracking_uri_of, Home(tmp_path / name), None) == (
        f"--storage {tmp_path / name}: MLflow can not keep its runs in a folder with '{found}' in its path: a '?', "
        "and a '%' before two hexadecimal digits, mean something else to it; rename the folder, or name a store "
        "elsewhere with --tracking-uri"
    )
    assert tracking_uri_of(Home(tmp_path / name), "http://mlflow") == "http://mlflow"


@pytest.mark.parametrize("name", ["{old}", "100%", "a b", "jürgen#1;&=@"])
def test_mlflow_keeps_its_runs_and_their_files_in_any_other_folder(tmp_path: Path, name: str) -> None:
    study = searched(tmp_path / name, (1, 0))
    (study.trials_folder / "infonce-0000" / "best.pt").write_bytes(b"weights")
    uri = tracking_uri_of(study.home, None)
    Tracker(study, uri).sync(None)
    client = MlflowClient(uri)
    (run,) = client.search_runs(["1"], "attributes.run_name = 'infonce-0000'")
    assert {found.path for found in client.list_artifacts(run.info.run_id)} >= {"best.pt"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_bucket_alone_can_not_keep_mlflows_runs(tmp_path: Path) -> None:
    home = Home(tmp_path, bucket=Bucket("team", "studies"))
    with pytest.raises(UserError) as refused:
        tracking_uri_of(home, None)
    assert str(refused.value) == (
        f"--storage {home.bucket} needs --tracking-uri: MLflow can not keep its runs in a bucket alone"
    )
