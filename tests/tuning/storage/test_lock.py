"""A study in a folder is held by one launch at a time, and its lock goes with that launch's process."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from losstune.tuning.storage.lock import folder_locked, is_folder_locked
from tests.trainer.samples import refusal

HOLD = """
import sys
from pathlib import Path
from losstune.tuning.storage.lock import folder_locked
with folder_locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study until it is killed or its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def hold(folder: Path) -> None:
    with folder_locked(folder):
        pass


def test_a_second_launch_is_refused_and_a_dead_one_s_lock_is_taken_over(tmp_path: Path) -> None:
    with holder(tmp_path / "first") as process:
        message = refusal(hold, tmp_path / "first")
        assert message.startswith(f"study 'first' is in use by process {process.pid} on ")
        assert ", since 2" in message
        assert is_folder_locked(tmp_path / "first")
        process.kill()
        process.wait()
    assert not is_folder_locked(tmp_path / "first")
    with folder_locked(tmp_path / "first"):
        assert f"in use by process {os.getpid()} on " in refusal(hold, tmp_path / "first")
    hold(tmp_path / "first")


def test_an_exception_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), folder_locked(tmp_path / "first"):
        raise KeyError
    assert not is_folder_locked(tmp_path / "first")
    hold(tmp_path / "first")


def test_a_lock_file_with_a_fault_still_locks(tmp_path: Path) -> None:
    with folder_locked(tmp_path / "first"):
        (tmp_path / "first" / ".lock").write_text("{")
        assert refusal(hold, tmp_path / "first") == "study 'first' is in use by another process"


def test_two_studies_do_not_lock_each_other(tmp_path: Path) -> None:
    with folder_locked(tmp_path / "first"), folder_locked(tmp_path / "second"):
        assert is_folder_locked(tmp_path / "first")
    assert not is_folder_locked(tmp_path / "third")


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("")
    folder = tmp_path / "studies" / "first"
    assert refusal(hold, folder) == f"{folder}: can not be written: Not a directory"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o644), (0o077, 0o600)])
def test_whoever_may_read_a_study_sees_whether_it_is_held(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        hold(tmp_path / "first")
    finally:
        os.umask(before)
    assert (tmp_path / "first" / ".lock").stat().st_mode & 0o777 == mode


def test_a_lock_that_can_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path / "first")
    path = tmp_path / "first" / ".lock"
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    monkeypatch.setattr(os, "open", Mock(side_effect=denied))  # who may do all is refused nothing
    assert refusal(is_folder_locked, tmp_path / "first") == f"{path}: can not be read: Permission denied"
