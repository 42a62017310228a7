"""Studies as a user starts them: whole processes, and what is on disk afterwards."""

import atexit
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import optuna
import psutil
from optuna.trial import FrozenTrial

from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.history import read_history, read_whole_lines
from losstune.trainer.run.layout import HISTORY_FILE, LAST_FILE
from losstune.tuning.show.status import status_json
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study

LOSSTUNE = str(Path(sys.executable).with_name("losstune"))

STUDY = ["mse", "infonce", "--data", "digits", "--study", "study"]
LONG = ["launch", *STUDY, "--concurrency", "1", "--epochs-per-loss", "216", "--max-epochs", "27"]
"""About 20 seconds of training, one trial at a time: two runs of it end with the same leaderboard."""
SHORT = ["launch", *STUDY, "--concurrency", "1", "--epochs-per-loss", "27", "--max-epochs", "9"]

Leaderboard = list[tuple[object, ...]]
Found = TypeVar("Found")


def start(root: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """``losstune ARGUMENTS --storage ROOT`` in a session of its own; its output is read by ``communicate``."""
    return spawn(*arguments, "--storage", str(root), **environment)


def spawn(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """``losstune ARGUMENTS`` in a session of its own."""
    with _interruptible():
        return subprocess.Popen(
            [LOSSTUNE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """A shell's background job has SIGINT ignored, and would hand that on to all that it starts."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def run(root: Path, *arguments: str, timeout: float = 300, **environment: str) -> str:
    """The same, to its end, which must be a good one; returns what it printed."""
    process = start(root, *arguments, **environment)
    out, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, out
    return out


@cache
def undisturbed(*arguments: str) -> Path:
    """Where ``losstune ARGUMENTS`` ran to its end with nothing in its way; once for all tests, which only read it."""
    root = Path(tempfile.mkdtemp(prefix="undisturbed-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    run(root, *arguments)
    return root


@contextmanager
def private_tmp() -> Iterator[Path]:
    """A folder for TMPDIR with a path that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="lt", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def slowness() -> float:
    """How many times as long as a processor takes for it work lasts at this moment: 1 where nothing else has one."""
    wall, used = time.monotonic(), time.process_time()
    while (worked := time.process_time() - used) < 0.2:
        pass
    return (time.monotonic() - wall) / worked


def in_time(began: float, deadline: float) -> bool:
    """Whether so many seconds are not over yet, of a machine that has time: on a busy one they last longer."""
    passed = time.monotonic() - began
    return passed < deadline or passed < deadline * slowness()


def wait_for(what: Callable[[], Found], deadline: float, why: str) -> Found:
    """Poll until there is something; fails after so many seconds of a machine that has time."""
    began = time.monotonic()
    while not (found := what()):
        assert in_time(began, deadline), f"not within {deadline} s: {why}"
        time.sleep(0.02)
    return found


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that nobody has waited for yet does not."""
    left = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def wait_until_gone(processes: list[psutil.Process], deadline: float = 15.0) -> None:
    """Poll until none is at work any more; fails after so many seconds of a machine that has time."""
    began = time.monotonic()
    while left := still_at_work(processes):
        assert in_time(began, deadline), [(process.pid, _title(process)) for process in left]
        time.sleep(0.02)


def tree(pid: int) -> list[psutil.Process]:
    """All processes below one."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(pid: int) -> list[psutil.Process]:
    """Ray's workers below a process that train, or wait for the next trial."""
    return [process for process in tree(pid) if _title(process).startswith("ray::_Inner")]


def training(pid: int) -> list[psutil.Process]:
    """Those that train at this moment."""
    return [process for process in tree(pid) if _title(process) == "ray::_Inner.train"]


def raylet(node: Any) -> int:
    """The process that the workers of a node of ``ray.cluster_utils.Cluster`` are below."""
    return int(node.all_processes["raylet"][0].process.pid)


def still_at_work(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are alive, but for Ray's helpers that have nothing to do any more and end by themselves.

    When a raylet dies, its two agents try for 60 seconds to tell a server that died with it, and a worker that was
    just starting, or never got a task, goes on looking for it.
    """
    return [process for process in alive(processes) if not _is_helper(process)]


def _is_helper(process: psutil.Process) -> bool:
    title = _title(process)
    return title.endswith(("Agent", "ray::IDLE")) or any(
        name in title for name in ("default_worker.py", "agent/main.py", "dashboard/agent.py")
    )


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def optuna_trials(root: Path, study: str) -> dict[str, list[FrozenTrial]]:
    """All trials of each loss, as Optuna itself reads them."""
    url = f"sqlite:///{root / 'studies' / study / 'optuna.db'}"
    names = optuna.get_all_study_names(url)
    return {name: optuna.load_study(study_name=name, storage=url).trials for name in sorted(names)}


def leaderboard(root: Path, study: str) -> Leaderboard:
    """Every trial with its parameters, rungs and end; all but the times."""
    return [
        (loss, t.number, t.params, t.state.name, t.intermediate_values, t.user_attrs.get("end"))
        for loss, trials in optuna_trials(root, study).items()
        for t in trials
    ]


def told(root: Path, study: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What ``losstune status --json`` says of every trial that has ended: what the user was told."""
    losses = json.loads(json.dumps(status_json(open_study(Home(root), study))))["losses"]
    return {
        (loss, trial["trial"]): trial
        for loss, own in losses.items()
        for trial in own["trials"]
        if trial["reason"] is not None
    }


def run_statuses(root: Path) -> dict[str, str]:
    """Name and status of every run in MLflow's own database; none before the tracker has made it."""
    if not (root / "mlflow.db").exists():
        return {}
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return dict(database.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'"))


def check_histories(root: Path, study: str) -> None:
    """No epoch is missing or doubled in any trial's history."""
    for folder in (root / "studies" / study / "trials").iterdir():
        epochs = [record["epoch"] for record in read_history(folder / HISTORY_FILE)]
        assert epochs == list(range(1, len(epochs) + 1)), folder


def check_ended(root: Path, study: str, slots: int, epochs_per_loss: int, max_epochs: int) -> None:
    """Every trial has ended, histories are whole, each loss has spent its budget, and MLflow knows."""
    check_histories(root, study)
    for loss, trials in optuna_trials(root, study).items():
        assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
        spent = sum(t.user_attrs["end"]["epochs"] for t in trials)
        assert epochs_per_loss <= spent < epochs_per_loss + slots * max_epochs, (loss, spent)
        for t in trials:
            history = read_history(root / "studies" / study / "trials" / f"{loss}-{t.number:04d}" / HISTORY_FILE)
            assert t.user_attrs["end"]["epochs"] == len(history)
    assert set(run_statuses(root).values()) <= {"FINISHED", "KILLED", "FAILED"}


def catch_up_mlflow(said: str) -> None:
    """Do what a launch says of its end on a machine too busy for MLflow to be told in time; nothing where it was."""
    for command in re.findall(r"^MLflow lacks a part of this study \(\S+\): losstune (.+)$", said, re.MULTILINE):
        subprocess.run([LOSSTUNE, *shlex.split(command)], check=True)


def epochs_on_disk(root: Path, study: str) -> int:
    """Lines in the histories of all trials."""
    histories = (root / "studies" / study / "trials").glob(f"*/{HISTORY_FILE}")
    return sum(history.read_bytes().count(b"\n") for history in histories)


def files_digest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class TrialOnDisk:
    """A trial's files at an instant: when each epoch of its history was trained, and the epoch of its checkpoint."""

    times: tuple[float, ...]
    checkpoint: int


def on_disk(root: Path, study: str) -> dict[str, TrialOnDisk]:
    """Every trial's files, while no worker writes."""
    found = {}
    for folder in sorted((root / "studies" / study / "trials").glob("*")):
        records, damage = read_whole_lines(folder / HISTORY_FILE)
        assert not damage
        state = load_checkpoint(folder / LAST_FILE)["state"] if (folder / LAST_FILE).exists() else {"epoch": 0}
        found[folder.name] = TrialOnDisk(tuple(record["time"] for record in records), state["epoch"])
    return found


def trained_twice(before: dict[str, TrialOnDisk], after: dict[str, TrialOnDisk]) -> int:
    """Epochs that were in a history and were trained again; none of them up to its trial's last checkpoint."""
    again = 0
    for name, trial in before.items():
        assert len(trial.times) >= trial.checkpoint, f"{name}: its checkpoint has no history"
        assert after[name].times[: trial.checkpoint] == trial.times[: trial.checkpoint], name
        later = zip(trial.times[trial.checkpoint :], after[name].times[trial.checkpoint :], strict=False)
        again += sum(once != now for once, now in later)
    return again
