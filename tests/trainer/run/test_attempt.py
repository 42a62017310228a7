"""Who may write a run: of several workers the last that opened it, of the newest launch."""

import fcntl
import re
from pathlib import Path

import pytest

from losstune.trainer.run.attempt import StaleAttemptError, Writer, newest_attempt
from losstune.trainer.run.history import read_history
from losstune.trainer.run.run_dir import RunDirectory
from tests.trainer.samples import sample_config, sample_trainer


class TestWriter:
    def test_the_file_says_the_newest_launch_and_its_worker(self, tmp_path: Path) -> None:
        assert Writer(3).worker != Writer(3).worker
        with Writer(3, "abc").admitted(tmp_path, opening=True):
            assert (tmp_path / ".attempt").read_bytes() == b"00000000000000000003abc"
        assert newest_attempt(tmp_path) == 3

    def test_no_other_is_admitted_at_the_same_time(self, tmp_path: Path) -> None:
        with (
            Writer(1).admitted(tmp_path, opening=True),
            (tmp_path / ".attempt").open() as stream,
            pytest.raises(BlockingIOError),
        ):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_one_that_was_turned_away_has_changed_nothing(self, tmp_path: Path) -> None:
        with Writer(2, "b").admitted(tmp_path, opening=True):
            pass
        before = (tmp_path / ".attempt").read_bytes()
        with pytest.raises(StaleAttemptError), Writer(1, "a").admitted(tmp_path, opening=True):
            pytest.fail("it was let in")
        assert (tmp_path / ".attempt").read_bytes() == before

    @pytest.mark.parametrize("left", [b"", b"\0" * 52, b"0000"])
    def test_what_a_power_cut_leaves_of_the_file_keeps_nobody_out(self, tmp_path: Path, left: bytes) -> None:
        (tmp_path / ".attempt").write_bytes(left)
        with Writer(5, "w" * 32).admitted(tmp_path, opening=False):
            pass
        assert newest_attempt(tmp_path) == 5


class TestAttempts:
    def test_an_older_launch_can_not_write_once_a_newer_one_has(self, tmp_path: Path) -> None:
        config = sample_config(num_epochs=6)
        old, old_trainer = RunDirectory(tmp_path, attempt=1), sample_trainer(config)
        old.start(config)
        old.save(old_trainer, [old_trainer.run_epoch()])
        new, new_trainer = RunDirectory(tmp_path, attempt=2), sample_trainer(config)
        new.restore(new_trainer)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        record = old_trainer.run_epoch()
        message = f"{tmp_path}: launch 2 has taken it over from launch 1"
        with pytest.raises(StaleAttemptError, match=re.escape(message)):
            old.save(old_trainer, [record])
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        new.save(new_trainer, [new_trainer.run_epoch()])
        assert [epoch["epoch"] for epoch in read_history(tmp_path / "history.jsonl")] == [1, 2]

    @pytest.mark.parametrize("restores", [True, False], ids=["goes on", "starts again"])
    def test_of_two_workers_of_a_launch_the_one_that_came_later_writes(self, tmp_path: Path, restores: bool) -> None:
        config = sample_config(num_epochs=6)
        lost, lost_trainer = RunDirectory(tmp_path, attempt=1), sample_trainer(config)
        lost.start(config)
        lost.save(lost_trainer, [lost_trainer.run_epoch()])
        other, other_trainer = RunDirectory(tmp_path, attempt=1), sample_trainer(config)
        if restores:
            other.restore(other_trainer)
        else:
            other.start(config)
        message = f"{tmp_path}: another worker of launch 1 has taken it over"
        with pytest.raises(StaleAttemptError, match=re.escape(message)):
            lost.save(lost_trainer, [lost_trainer.run_epoch()])
        other.save(other_trainer, [other_trainer.run_epoch()])
        assert [epoch["epoch"] for epoch in read_history(tmp_path / "history.jsonl")] == [1, 2][: 1 + restores]
