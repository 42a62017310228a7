"""A study that is in use: a second command is told by whom, and changes nothing; a dead process holds nothing."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from losstune.tuning.storage.home import Home
from tests.conftest import Command
from tests.reliability.studies import SHORT, alive, start, tree, wait_for, wait_until_gone
from tests.reliability.tallies import Recorder

pytestmark = pytest.mark.torture

COMMANDS = [SHORT, ["confirm", "study", "--top", "1", "--seeds", "2"], ["delete", "study", "--yes"]]


@contextmanager
def launched(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A launch with a trial in training; it is killed at the end, with all that it started."""
    process = start(root, *SHORT)
    try:
        wait_for(lambda: any(root.glob("studies/study/trials/*/last.pt")), 60, "a trial trains")
        yield process
    finally:
        below = tree(process.pid)
        process.kill()
        process.communicate()
        wait_until_gone(below)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process and all below it stand still: what changes now, another has changed."""
    processes = [psutil.Process(pid), *tree(pid)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in alive(processes):
            process.resume()


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every byte under a folder, and when each file and folder changed."""
    return {
        str(path.relative_to(root)): (b"" if path.is_dir() else path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
    }


def test_a_second_command_changes_nothing_and_a_dead_launch_holds_nothing(
    tmp_path: Path, losstune: Command, record: Recorder
) -> None:
    with launched(tmp_path) as launch:
        with paused(launch.pid):
            before = contents(tmp_path)
            for command in COMMANDS:
                refused = losstune(*command, "--storage", tmp_path)
                assert refused.code == 2, refused
                expected = (
                    rf"error: study 'study' is in use by process {launch.pid} on {socket.gethostname()}, since 2.*\n"
                )
                assert re.fullmatch(expected, refused.err)
                assert contents(tmp_path) == before
        below = tree(launch.pid)
        launch.kill()
        launch.wait()
        began = time.monotonic()
        assert not Home(tmp_path).trial_store("study").is_held()
        with Home(tmp_path).locked("study"):
            seconds = time.monotonic() - began
        wait_until_gone(below)
    record(7, "launch, confirm and delete beside a launch", injected=len(COMMANDS))
    record(7, "lock of a killed launch taken over", seconds=seconds)


def test_two_launches_at_the_same_instant(tmp_path: Path, record: Recorder) -> None:
    """One of them gets the study, whole; the other is told so."""
    both = [start(tmp_path, *SHORT) for _ in range(2)]
    ends = sorted((process.communicate(timeout=120)[0], process.returncode) for process in both)
    codes = sorted(code for _, code in ends)
    assert codes == [0, 2], ends
    (said,) = (out for out, code in ends if code == 2)
    assert "study 'study' is in use by process " in said or "exists" in said
    assert "Traceback" not in said
    record(7, "two launches at once")
