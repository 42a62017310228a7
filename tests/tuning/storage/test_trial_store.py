"""Where a study's trials are kept: a file of its own, or a database with others; without a server."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage import trial_store
from losstune.tuning.storage.database import Database, database_at
from losstune.tuning.storage.trial_store import OWNER, DatabaseStore, SqliteStore, TrialStore, find_study, read_owner
from tests.trainer.samples import refusal

POSTGRES = "postgresql://me:geheim@db.example/studies"


class Held:
    """A lease, as far as a store asks it."""

    lost = "another launch has taken study 'first' over"

    def check(self, connection: object) -> None:
        raise AssertionError

    def next_attempt(self, least: int) -> int:
        return least + 100


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> InMemoryStorage:
    """The storage that every database is, for the time of a test."""
    storage = InMemoryStorage()
    monkeypatch.setattr(Database, "storage", lambda _: storage)
    return storage


@pytest.fixture(params=["sqlite", "database"])
def store(request: pytest.FixtureRequest, tmp_path: Path, shared: InMemoryStorage) -> TrialStore:
    if request.param == "sqlite":
        return SqliteStore(tmp_path)
    return DatabaseStore(replace(database_at(POSTGRES), lease=Held()), "first", "ab", "/here")


def fill(storage: BaseStorage, name: str, owner: str) -> None:
    study = storage.create_new_study([StudyDirection.MAXIMIZE], name)
    storage.set_study_user_attr(study, OWNER, owner)


def test_it_opens_with_the_trials_that_were_written(store: TrialStore) -> None:
    store.create()
    fill(store.open(["mse"]), store.optuna_name("mse"), "ab")
    again = store.open(["mse", "cosine"])
    assert read_owner(again, store.optuna_name("mse")) == "ab"
    assert find_study(again, store.optuna_name("cosine")) is None
    assert read_owner(again, store.optuna_name("cosine")) is None
    store.check_whole()


def test_whatever_a_damaged_storage_raises_is_one_message(store: TrialStore) -> None:
    with pytest.raises(UserError) as error, store.translating_errors():
        raise AssertionError("postgresql://me:geheim@host stumbled\nhere")
    assert str(error.value).startswith(f"{store}: can not be read: postgresql://me:***@host stumbled")
    assert "here" not in str(error.value)


def test_each_kind_has_its_names(tmp_path: Path) -> None:
    own, database = SqliteStore(tmp_path), DatabaseStore(database_at(POSTGRES), "first", "ab", "/here")
    assert (str(own), own.word, own.optuna_name("mse")) == (str(tmp_path / "optuna.db"), "optuna.db", "mse")
    assert str(database) == "postgresql://me:***@db.example/studies"
    assert (database.word, database.optuna_name("mse")) == ("the database", "first/mse")
    assert (own.lost, database.lost) == ("", "")
    assert (own.kind, database.kind) == ("file", "database")
    assert own.elsewhere == "where they are in a database, --study-storage or LOSSTUNE_STUDY_STORAGE names it"
    assert database.elsewhere == (
        "where they are in another one, --study-storage or LOSSTUNE_STUDY_STORAGE names it; where they are in "
        "optuna.db of the study's folder, go on without both"
    )
    assert replace(database, database=replace(database.database, lease=Held())).lost == Held.lost


def test_a_database_with_another_study_s_trials_is_refused(shared: InMemoryStorage) -> None:
    fill(shared, "first/mse", "cd")
    store = DatabaseStore(database_at(POSTGRES), "first", "ab", "/here")
    assert refusal(store.open, ["mse"]) == (
        f"{store} holds trials of another study 'first', which is not the one in /here; "
        "use another --study name, or another database"
    )
    store.open(["cosine"])


def test_deletion_takes_the_study_s_own_trials_only(shared: InMemoryStorage) -> None:
    for name in ("first/mse", "second/mse", "first/stray"):
        fill(shared, name, "ab")
    DatabaseStore(database_at(POSTGRES), "first", "ab", "/here").delete(["first/mse", "first/cosine"])
    assert [found.study_name for found in shared.get_all_studies()] == ["second/mse", "first/stray"]


def test_launches_are_numbered_upwards(store: TrialStore, tmp_path: Path) -> None:
    if isinstance(store, DatabaseStore):
        assert store.next_attempt(4) == 105
        return
    assert [store.next_attempt(0), store.next_attempt(0), store.next_attempt(7), store.next_attempt(3)] == [1, 2, 8, 9]
    (tmp_path / "attempt").write_text('{"attempt": 99}')  # without its checksum: damaged
    assert store.next_attempt(4) == 5


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


@pytest.mark.parametrize(
    ("error", "in_a_file", "in_a_database"),
    [
        (StorageInternalError("database or disk is full"), False, False),
        (StorageInternalError("attempt to write a readonly database"), False, False),
        (StorageInternalError("database disk image is malformed"), True, False),
        (KeyError("mse"), True, True),
    ],
)
def test_which_errors_tell_of_damage(error: Exception, in_a_file: bool, in_a_database: bool, tmp_path: Path) -> None:
    assert SqliteStore(tmp_path).tells_damage(error) is in_a_file
    assert DatabaseStore(database_at(POSTGRES), "first", "ab", "/here").tells_damage(error) is in_a_database


def test_a_study_is_held_by_a_lock_or_by_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = SqliteStore(tmp_path / "first")
    assert not own.is_held()
    with own.held() as held:
        assert held is None
        assert own.is_held()
        assert refusal(own.held().__enter__).startswith("study 'first' is in use by process ")
    assert not own.is_held()

    lease = Held()

    @contextmanager
    def holding(database: Database, study: str) -> Iterator[Held]:
        assert (database, study) == (database_at(POSTGRES), "first")
        yield lease

    monkeypatch.setattr(trial_store, "holding", holding)
    with DatabaseStore(database_at(POSTGRES), "first", "ab", "/here").held() as database:
        assert database == Database(database_at(POSTGRES).url, lease)
