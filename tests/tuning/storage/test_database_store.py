"""A study's trials in a database; without a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from optuna.storages import InMemoryStorage

from losstune.tuning.storage import database_store
from losstune.tuning.storage.database import Database, database_at
from losstune.tuning.storage.database_store import DatabaseStore
from tests.trainer.samples import refusal
from tests.tuning.storage.conftest import POSTGRES, Held, fill


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


def test_launches_are_numbered_by_their_lease() -> None:
    assert DatabaseStore(replace(database_at(POSTGRES), lease=Held()), "first", "ab", "/here").next_attempt(4) == 105


def test_a_study_is_held_by_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Held()

    @contextmanager
    def holding(database: Database, study: str) -> Iterator[Held]:
        assert (database, study) == (database_at(POSTGRES), "first")
        yield lease

    monkeypatch.setattr(database_store, "holding", holding)
    with DatabaseStore(database_at(POSTGRES), "first", "ab", "/here").held() as database:
        assert database == Database(database_at(POSTGRES).url, lease)
