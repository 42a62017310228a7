"""What every place of a study's trials does: a file of its own, or a database with others; without a server."""

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.database_store import DatabaseStore
from losstune.tuning.storage.sqlite_store import SqliteStore
from losstune.tuning.storage.trial_store import TrialStore, find_study, read_owner
from tests.tuning.storage.conftest import POSTGRES, Held, fill


@pytest.fixture(params=["sqlite", "database"])
def store(request: pytest.FixtureRequest, tmp_path: Path, shared: InMemoryStorage) -> TrialStore:
    if request.param == "sqlite":
        return SqliteStore(tmp_path)
    return DatabaseStore(replace(database_at(POSTGRES), lease=Held()), "first", "ab", "/here")


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
