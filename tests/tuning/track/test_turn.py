"""One process at a time writes a study's runs, as far as there are locks."""

import errno
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.study.study import Study
from losstune.tuning.track import turn as module
from losstune.tuning.track.turn import TURN_FILE, Turn
from tests.tuning.reported import searched

TAKES = """
import sys
from pathlib import Path
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study
from losstune.tuning.track.turn import Turn

print(Turn(open_study(Home(Path(sys.argv[1])), "study")).take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (0, 0))


def test_it_goes_with_its_process(study: Study) -> None:
    command = [sys.executable, "-c", TAKES, study.home.where]
    with Turn(study) as turn, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        assert not turn.take()
        other.kill()
        other.wait()
        assert turn.take()
        assert turn.take()
        assert turn.is_sure


def test_the_next_has_it_after_the_block_or_after_an_error(study: Study) -> None:
    first = Turn(study)
    with Turn(study) as second:
        with suppress(KeyboardInterrupt), first:
            assert first.take()
            assert not second.take()
            raise KeyboardInterrupt
        assert second.take()
        with first:
            assert not first.take()


def test_waiting_ends_when_it_is_given_back(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with Turn(study) as first, Turn(study) as second:
        assert first.take()
        monkeypatch.setattr(module.time, "sleep", lambda seconds: first.__exit__(None, None, None))
        second.wait()
        assert not first.take()


def test_waiting_does_not_last_for_ever(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", -1.0)
    with Turn(study) as first, Turn(study) as second:
        assert first.take()
        with pytest.raises(UserError) as refused:
            second.wait()
    assert str(refused.value) == (
        "another process writes the runs of study 'study' to MLflow, as a launch's last ones or a sync; the same "
        "command goes on once it has ended"
    )


def test_a_bucket_has_no_locks(study: Study) -> None:
    kept = Study(replace(study.home, bucket=Bucket("team", "studies")), study.spec)
    with Turn(kept) as first, Turn(kept) as second:
        assert first.take()
        assert second.take()
        assert not first.is_sure


def test_a_link_is_not_followed(study: Study, tmp_path: Path) -> None:
    (study.folder / TURN_FILE).symlink_to(tmp_path / "outside")
    with Turn(study) as turn, pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        turn.take()
    assert not (tmp_path / "outside").exists()
