"""A study's trials in a file of its own folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from losstune.tuning.storage.sqlite_store import SqliteStore
from losstune.tuning.storage.trial_store import read_owner
from tests.trainer.samples import refusal
from tests.tuning.storage.conftest import fill


def test_who_reads_makes_no_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    assert refusal(store.open, ["mse"]) == (
        f"{tmp_path}/optuna.db: is gone, and with it what was told of the study's trials; restore it from a backup, or "
        f"start another study; the backup has an optuna.db-wal too where there was one; {store.elsewhere}"
    )
    store.check_whole()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_made_anew(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.create()
    fill(store.open([]), "mse", "ab")
    store.create()
    assert read_owner(store.open([]), "mse") == "ab"


def test_one_that_can_not_be_made_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^optuna\.db: unable to open database file$"):
        SqliteStore(tmp_path / "none").create()


def test_commits_go_to_a_log(tmp_path: Path) -> None:
    SqliteStore(tmp_path).create()
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_what_sqlite_finds_damaged_is_refused_and_what_it_can_not_open_is_not_called_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.check_whole()
    (tmp_path / "optuna.db").write_text("no database, but long enough to be taken for one" * 30)
    assert refusal(store.check_whole) == (
        f"{store}: damaged (file is not a database); restore it from a backup, or start another study"
    )
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "optuna.db").mkdir()
    with pytest.raises(OSError, match=r"^optuna\.db: unable to open database file$"):
        store.check_whole()


def test_launches_are_numbered_upwards(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    assert [store.next_attempt(0), store.next_attempt(0), store.next_attempt(7), store.next_attempt(3)] == [1, 2, 8, 9]
    (tmp_path / "attempt").write_text('{"attempt": 99}')  # without its checksum: damaged
    assert store.next_attempt(4) == 5


def test_a_study_is_held_by_a_lock(tmp_path: Path) -> None:
    own = SqliteStore(tmp_path / "first")
    assert not own.is_held()
    with own.held() as held:
        assert held is None
        assert own.is_held()
        assert refusal(own.held().__enter__).startswith("study 'first' is in use by process ")
    assert not own.is_held()
