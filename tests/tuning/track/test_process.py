"""The tracker's process as a launch sees it: how it is started, waited for, and what is said of it."""

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losstune.trainer.base.signals import SIGNALS, StopRequest
from losstune.tuning.study.study import Study
from losstune.tuning.track import process
from losstune.tuning.track.process import TrackerProcess
from losstune.tuning.track.tracking_uri import TRACKING_URI
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
        f"losstune sync study{study.home.options()} --tracking-uri 'postgresql://me:***@db/runs'\n"
    )


def test_one_that_does_not_end_is_ended_at_once_after_a_signal(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, _ = started(study, monkeypatch, "import time; time.sleep(600)")
    stop = StopRequest()
    stop.ask(signal.SIGTERM)
    stop.since -= process.STOPPED_SECONDS
    whole, said = finished(tracker, stop)
    assert not whole
    assert said.startswith("MLflow lacks a part")
