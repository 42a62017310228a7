"""Temporary folders: their owner's alone, gone with it, and cleared away after an owner that was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from losstune.tuning.storage.scratch import HELPERS_SECONDS, private_folder

KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from losstune.tuning.storage.scratch import private_folder
with private_folder() as folder:
    (folder / "data").write_text("large")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_private_and_goes_with_its_block(temporary: Path) -> None:
    with pytest.raises(KeyError), private_folder() as folder:  # noqa: PT012
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "data").write_text("")
        raise KeyError
    assert list(temporary.iterdir()) == []


def test_folders_of_the_living_stay_and_those_of_the_killed_go(temporary: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(temporary)]
    killed = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    assert (killed / "data").exists()
    with private_folder() as first, private_folder() as second:
        assert sorted(temporary.iterdir()) == sorted([first, second])


def test_what_a_helper_of_a_dead_ray_made_again_goes_later(temporary: Path) -> None:
    fresh, old = temporary / "losstune-fresh", temporary / "losstune-old"
    for folder in (fresh, old, temporary / "another"):
        folder.mkdir()
    (old / "session_2026-01-31_09-30-00_1_2" / "logs").mkdir(parents=True)
    os.utime(old, (0, time.time() - HELPERS_SECONDS - 60))
    os.utime(temporary / "another", (0, 0))
    with private_folder():
        assert fresh.exists()
        assert not old.exists()
        assert (temporary / "another").exists()


def test_a_users_folder_that_is_named_so_stays(temporary: Path) -> None:
    mine = temporary / "losstune-embeddings"
    (mine / "session_1").mkdir(parents=True)
    (mine / "pairs.npz").write_text("days of work")
    os.utime(mine, (0, 0))
    with private_folder():
        assert (mine / "pairs.npz").exists()
