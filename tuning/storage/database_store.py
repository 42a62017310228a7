"""The trials of one study in a database, with those of others."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from optuna.storages import BaseStorage

from losstune.trainer.base.errors import UserError, translating
from losstune.tuning.storage.database import Database
from losstune.tuning.storage.failures import STORAGE_FAILURES
from losstune.tuning.storage.lease import holding, is_held
from losstune.tuning.storage.sqlite_store import STORAGE_FILE
from losstune.tuning.storage.trial_store import Kind, read_owner, remove_study, unreadable_text


@dataclass(frozen=True)
class DatabaseStore:
    """Trials in a database, under names that begin with the study's, and a lease there for the launch that holds it.

    Attributes:
        study, study_id: its name, and what tells it from another of that name.
        where: the place of its files, as ``--storage`` takes it.
    """

    database: Database
    study: str
    study_id: str
    where: str

    def __str__(self) -> str:
        return str(self.database)

    @property
    def kind(self) -> Kind:
        return "database"

    @property
    def word(self) -> str:
        return "the database"

    @property
    def elsewhere(self) -> str:
        return (
            "where they are in another one, --study-storage or LOSSTUNE_STUDY_STORAGE names it; where they are in "
            f"{STORAGE_FILE} of the study's folder, go on without both"
        )

    def create(self) -> None:
        """Its tables are made by whoever opens it first."""

    @property
    def lost(self) -> str:
        return self.database.lease.lost if self.database.lease else ""

    def optuna_name(self, loss: str) -> str:
        return f"{self.study}/{loss}"

    def open(self, losses: Iterable[str]) -> BaseStorage:
        storage = self.database.storage()
        with self.translating_errors():
            owners = {read_owner(storage, self.optuna_name(loss)) for loss in losses}
        if not owners <= {None, self.study_id}:
            raise UserError(
                f"{self} holds trials of another study {self.study!r}, which is not the one in "
                f"{self.where}; use another --study name, or another database"
            )
        return storage

    def translating_errors(self) -> AbstractContextManager[None]:
        return translating(Exception, lambda error: UserError(unreadable_text(self, error)))

    def check_whole(self) -> None:
        """Its server does that."""

    def tells_damage(self, error: Exception) -> bool:
        return not isinstance(error, STORAGE_FAILURES)

    def next_attempt(self, newest: int) -> int:
        assert self.database.lease is not None, "only a launch that holds the study has a number"
        return self.database.lease.next_attempt(least=newest + 1)

    def delete(self, names: Iterable[str]) -> None:
        storage = self.database.storage()
        for name in names:
            remove_study(storage, name)

    @contextmanager
    def held(self) -> Iterator[Database]:
        with holding(self.database, self.study) as lease:
            yield Database(self.database.url, lease)

    def is_held(self) -> bool:
        return is_held(self.database, self.study)
