"""kill -9 of a launch at random instants, and the same command again: as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.base.files import without_crc
from losstune.tuning.confirm.confirm_runs import RESULT_FILE, RunResult
from losstune.tuning.storage.scratch import HELPERS_SECONDS
from losstune.tuning.study.study import SPEC_FILE
from tests.reliability.studies import (
    LONG,
    SHORT,
    STUDY,
    TrialOnDisk,
    check_ended,
    check_histories,
    epochs_on_disk,
    leaderboard,
    on_disk,
    optuna_trials,
    private_tmp,
    run,
    start,
    told,
    trained_twice,
    tree,
    undisturbed,
    wait_for,
    wait_until_gone,
)
from tests.reliability.tallies import Recorder
from tests.running import sample_seed, sized


@dataclass
class Killed:
    """A study that is launched and killed, again and again, and what was known of it each time."""

    root: Path
    tmp: Path
    kills: int = 0
    again: int = 0
    recovered: list[float] = field(default_factory=list)
    told: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    disk: dict[str, TrialOnDisk] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def launch_and_kill(self, command: list[str], after: float, *, trains: bool = False, look: bool = True) -> bool:
        """Kill the launch itself so many seconds after its start, or its first epoch; false if it had ended by then.

        Without a look at what it leaves, the next launch begins while some of its processes still live.
        """
        began, before = time.time(), epochs_on_disk(self.root, "study")
        process = start(self.root, *command, TMPDIR=str(self.tmp))
        try:
            if trains:
                wait_for(
                    lambda: epochs_on_disk(self.root, "study") > before or process.poll() is not None, 90, "trains"
                )
            process.wait(after)
        except subprocess.TimeoutExpired:
            below = tree(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            self.kills += 1
            if not look:
                return True
            wait_until_gone(below)
            self.folders |= {folder.name for folder in self.tmp.glob("losstune-*")}
        self._look(began)
        return process.returncode == -signal.SIGKILL

    def finish(self, command: list[str]) -> None:
        began = time.time()
        run(self.root, *command, TMPDIR=str(self.tmp))
        self._look(began)
        self._check_cleared(began)

    def _check_cleared(self, began: float) -> None:
        """A launch clears the folders of those before it; a helper of a dying Ray may make one again for a while."""
        for folder in self.tmp.glob("losstune-*"):
            if folder.name in self.folders:
                assert not (folder / ".alive").exists()
                assert began - folder.stat().st_mtime < HELPERS_SECONDS

    def _look(self, began: float) -> None:
        """Compare the study with what was known before this launch."""
        if not (self.root / "studies" / "study" / SPEC_FILE).exists():
            return  # killed before there was a study
        now, said = on_disk(self.root, "study"), told(self.root, "study")
        self.again += trained_twice(self.disk, now)
        for key, trial in self.told.items():
            assert said[key] == trial, "what was told has changed"
            assert now[trial["trial"]] == self.disk[trial["trial"]], "an ended trial was trained again"
        new = [t for trial in now.values() for t in trial.times if t > began]
        if new and self.kills:
            self.recovered.append(min(new) - began)
        check_histories(self.root, "study")
        self.told, self.disk = said, now

    def record(self, record: Recorder, fault: str) -> None:
        for number, seconds in enumerate(self.recovered):
            note = f"{self.again} epochs after a checkpoint trained again" if number == 0 else ""
            record(1, fault, injected=self.kills if number == 0 else 0, seconds=seconds, note=note)


def instants(seed: int, starting: int, training: int) -> list[tuple[float, bool]]:
    """Random instants for kills, in a random order: seconds after a start, or after a launch's first epoch.

    Always the same, but in the sample of a day.
    """
    rng = random.Random(seed + (sample_seed() or 0))
    drawn = [(rng.uniform(1, 6), False) for _ in range(starting)] + [
        (rng.uniform(0, 1.2), True) for _ in range(training)
    ]
    return rng.sample(drawn, len(drawn))


@pytest.mark.torture
def test_three_kills_change_nothing(tmp_path: Path, record: Recorder) -> None:
    """One while it starts, two while it trains, each followed at once by the next launch."""
    with private_tmp() as tmp:
        killed = Killed(tmp_path, tmp)
        for after, trains in instants(0, starting=1, training=2):
            killed.launch_and_kill(SHORT, after, trains=trains, look=False)
        before = told(tmp_path, "study")
        killed.finish(SHORT)
    assert killed.kills == 3
    assert before.items() <= told(tmp_path, "study").items()
    check_ended(tmp_path, "study", 1, 27, 9)
    assert leaderboard(tmp_path, "study") == leaderboard(undisturbed(*SHORT), "study")
    killed.record(record, "launched again at once, three times")


@pytest.mark.torture
def test_many_kills_change_nothing(tmp_path: Path, record: Recorder) -> None:
    with private_tmp() as tmp:
        killed = Killed(tmp_path, tmp)
        for after, trains in instants(1, starting=sized(4, 1), training=sized(7, 2)):
            assert killed.launch_and_kill(LONG, after, trains=trains)
        killed.finish(LONG)
    check_ended(tmp_path, "study", 1, 216, 27)
    assert leaderboard(tmp_path, "study") == leaderboard(undisturbed(*LONG), "study")
    killed.record(record, "at a random instant, one slot")


@pytest.mark.torture
def test_many_kills_of_two_trials_at_a_time(tmp_path: Path, record: Recorder) -> None:
    command = ["launch", *STUDY, "--concurrency", "2", "--epochs-per-loss", "216", "--max-epochs", "27"]
    with private_tmp() as tmp:
        killed = Killed(tmp_path, tmp)
        for after, trains in instants(2, starting=sized(2, 1), training=sized(4, 2)):
            assert killed.launch_and_kill(command, after, trains=trains)
        killed.finish(command)
    check_ended(tmp_path, "study", 2, 216, 27)
    killed.record(record, "at a random instant, two slots")


def launch_and_kill_when(now: Callable[[], bool], root: Path, command: list[str], tmp: Path) -> None:
    """Kill the launch itself as soon as something is so; what is below it must notice."""
    process = start(root, *command, TMPDIR=str(tmp))
    wait_for(lambda: now() or process.poll() is not None, 120, "the instant of the kill")
    assert process.poll() is None, process.communicate()[0]
    below = tree(process.pid)
    process.kill()
    process.communicate()
    wait_until_gone(below)


NARROW = """
loss_fn: infonce
space: {lr: {low: 1.0e-4, high: 1.0e-2, log: true}}
fixed: {batch_size: 32}
"""
WIDE = """
loss_fn: infonce
space: {lr: {low: 1.0e-4, high: 1.0e-1, log: true}, batch_size: {choices: [16, 32, 64]}}
"""


def optuna_names(root: Path) -> set[str]:
    """The Optuna studies of a study, as they are in this instant."""
    with closing(sqlite3.connect(root / "studies" / "study" / "optuna.db")) as database:
        return {name for (name,) in database.execute("SELECT study_name FROM studies")}


@pytest.mark.torture
def test_kills_while_a_space_grows_change_nothing(tmp_path: Path, record: Recorder) -> None:
    """While its trials are copied to the wider space, at a random instant, and when others train in it."""
    for name, text in (("narrow", NARROW), ("wide", WIDE)):
        (tmp_path / f"{name}.yaml").write_text(text)
    rest = ["--data", "digits", "--study", "study", "--concurrency", "1", "--max-epochs", "9"]
    command = ["launch", str(tmp_path / "wide.yaml"), *rest, "--epochs-per-loss", "54", "--accept-change"]
    calm, root = tmp_path / "calm", tmp_path / "killed"
    run(calm, "launch", str(tmp_path / "narrow.yaml"), *rest, "--epochs-per-loss", "27")
    shutil.copytree(calm / "studies", root / "studies")
    ended, epochs = told(root, "study").keys(), epochs_on_disk(root, "study")
    run(calm, *command)
    ((after, _),) = instants(3, starting=1, training=0)
    with private_tmp() as tmp:
        launch_and_kill_when(lambda: "infonce@2" in optuna_names(root), root, command, tmp)
        assert ended == told(root, "study").keys()
        until = time.monotonic() + after
        launch_and_kill_when(lambda: time.monotonic() > until, root, command, tmp)
        assert ended <= told(root, "study").keys()
        launch_and_kill_when(lambda: epochs_on_disk(root, "study") > epochs + 9, root, command, tmp)
        assert ended <= told(root, "study").keys()
        run(root, *command, TMPDIR=str(tmp))
    check_histories(root, "study")
    spent = sum(trial.user_attrs["end"]["epochs"] for trial in optuna_trials(root, "study")["infonce@2"])
    assert 54 <= spent < 54 + 9
    assert leaderboard(root, "study") == leaderboard(calm, "study")
    record(1, "while a space grows", injected=3)


def results(root: Path) -> dict[str, tuple[object, ...]]:
    """How the runs of a confirmation ended, by their folders; all but the times."""
    found = {}
    for file in (root / "studies" / "study" / "confirm").rglob(RESULT_FILE):
        result = RunResult.model_validate_json(without_crc(file.read_bytes()) or b"")
        found[str(file.parent.relative_to(root))] = (result.end, result.epochs, result.best, result.best_epoch)
    return found


@pytest.mark.torture
def test_kills_of_a_confirmation_that_looks_change_nothing(tmp_path: Path, record: Recorder) -> None:
    """Killed before a look and after one, it spares the same runs, and says the same."""
    command = ["confirm", "study", "--top", "2", "--early", "--concurrency", "1"]
    calm, root = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, root):
        shutil.copytree(undisturbed(*SHORT) / "studies", folder / "studies")
    run(calm, *command)
    expected = results(calm)
    arms = {Path(folder).parent for folder in expected}
    assert 4 * len(arms) < len(expected) < 10 * len(arms), "some runs are spared"
    with private_tmp() as tmp:
        for before in (len(expected) // 3, 4 * len(expected) // 5):
            launch_and_kill_when(partial(more_results, before, root), root, command, tmp)
            assert results(root).items() <= expected.items()
        run(root, *command, TMPDIR=str(tmp))
    assert results(root) == expected
    assert (root / "test_uses.jsonl").read_text().count("\n") == 1
    answers = [json.loads(run(folder, "compare", "study", "--json")) for folder in (calm, root)]
    assert answers[0]["pairs"] == answers[1]["pairs"]
    record(1, "a confirmation that looks", injected=2)


def more_results(count: int, root: Path) -> bool:
    return len(results(root)) > count
