"""Where the trials of one study are kept: in a SQLite file in its folder, or in a database with those of others."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from optuna.storages import BaseStorage, RDBStorage

from losstune.trainer.base.errors import UserError, translating
from losstune.trainer.base.files import with_crc, without_crc, write_whole
from losstune.tuning.storage.database import Database
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.lease import holding, is_held
from losstune.tuning.storage.lock import folder_locked, is_folder_locked
from losstune.tuning.storage.passwords import masked
from losstune.tuning.storage.sqlite_url import sqlite_url

Kind = Literal["file", "database"]

STORAGE_FILE = "optuna.db"
ATTEMPT_FILE = "attempt"
OWNER = "losstune_study"
"""Attribute of an Optuna study: the id of the study that its trials belong to."""
BACKUP_ADVICE = "restore it from a backup, or start another study"
_NO_DAMAGE = re.compile("disk I/O|disk is full|readonly|unable to open|locked")
"""What SQLite says when the storage can not be used now, whole as it may be."""


class TrialStore(Protocol):
    """Optuna's storage as one study sees it. As text it is the place's name, for messages."""

    @property
    def kind(self) -> Kind:
        """Which of the kinds it is, as a study's spec keeps it: no address, which may hold a password."""

    @property
    def word(self) -> str:
        """The place in a word."""

    @property
    def elsewhere(self) -> str:
        """How a command comes to trials that are not here, in words."""

    @property
    def lost(self) -> str:
        """Why the launch that holds the study must stop, "" while it need not."""

    def optuna_name(self, loss: str) -> str:
        """What the trials of a loss are called in Optuna's storage."""

    def create(self) -> None:
        """Make an empty one for a study that begins, where there is none: who only reads must not.

        Raises:
            OSError: it can not be written.
        """

    def open(self, losses: Iterable[str]) -> BaseStorage:
        """Optuna's storage.

        Args:
            losses: the study's.

        Raises:
            UserError: it is gone, can not be read, or its trials of these losses are another study's.
        """

    def translating_errors(self) -> AbstractContextManager[None]:
        """Whatever goes wrong in this block is one message: on a damaged storage Optuna raises what it stumbles over.

        Raises:
            UserError: it can not be read.
        """

    def check_whole(self) -> None:
        """Refuse what is found damaged without Optuna.

        Raises:
            UserError: says what is damaged, and what to do.
            OSError: it can not be read now.
        """

    def tells_damage(self, error: Exception) -> bool:
        """Whether an error of reading it means that it is damaged, not that it can not be used now."""

    def next_attempt(self, newest: int) -> int:
        """The number of this launch: higher than of any before, and than ``newest``. Its holder asks."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove these of Optuna's studies, as far as they do not go with the study's folder."""

    def held(self) -> AbstractContextManager[Database | None]:
        """Hold the study for one launch. Gives the database as its holder is to use it, None where there is none.

        Raises:
            UserError: another process holds it; says which.
        """

    def is_held(self) -> bool:
        """Whether a launch holds the study now."""


@dataclass(frozen=True)
class SqliteStore:
    """Trials in a file of the study's own folder; they go with it, and its lock goes with the launch's process."""

    folder: Path

    def __str__(self) -> str:
        return str(self._path)

    @property
    def kind(self) -> Kind:
        return "file"

    @property
    def word(self) -> str:
        return STORAGE_FILE

    @property
    def elsewhere(self) -> str:
        return "where they are in a database, --study-storage or LOSSTUNE_STUDY_STORAGE names it"

    @property
    def lost(self) -> str:
        return ""

    def optuna_name(self, loss: str) -> str:
        return loss

    def create(self) -> None:
        if self._path.exists():
            return
        unwritable = translating(sqlite3.Error, lambda error: OSError(f"{STORAGE_FILE}: {error}"))
        with unwritable, closing(sqlite3.connect(self._path)) as fresh:
            # A commit takes a third of the time, and readers never hold up the launch. The mode stays in the file.
            fresh.execute("PRAGMA journal_mode=WAL")

    def open(self, losses: Iterable[str]) -> BaseStorage:
        if not self._path.exists():
            raise UserError(
                f"{self}: is gone, and with it what was told of the study's trials; {BACKUP_ADVICE}; the backup has an "
                f"{STORAGE_FILE}-wal too where there was one; {self.elsewhere}"
            )
        with self.translating_errors():
            return RDBStorage(sqlite_url(self._path))

    def translating_errors(self) -> AbstractContextManager[None]:
        return translating(Exception, lambda error: UserError(f"{_unreadable(self, error)}; restore it from a backup"))

    def check_whole(self) -> None:
        if not self._path.exists():
            return
        try:
            with closing(sqlite3.connect(self._path)) as storage:
                found = storage.execute("PRAGMA integrity_check").fetchone()[0]
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if _NO_DAMAGE.search(str(error)):
                raise OSError(f"{STORAGE_FILE}: {error}") from None
            found = str(error)
        if found != "ok":
            raise UserError(f"{self}: damaged ({found.splitlines()[-1]}); {BACKUP_ADVICE}")

    def tells_damage(self, error: Exception) -> bool:
        return not (isinstance(error, STORAGE_FAILURES) and _NO_DAMAGE.search(storage_reason(error)))

    def next_attempt(self, newest: int) -> int:
        path = self.folder / ATTEMPT_FILE
        before = without_crc(path.read_bytes()) if path.exists() else None
        if before:  # damaged: the runs' own files say what was
            newest = max(newest, json.loads(before)["attempt"])
        write_whole(path, with_crc(json.dumps({"attempt": newest + 1})).encode())
        return newest + 1

    def delete(self, names: Iterable[str]) -> None:
        pass

    @contextmanager
    def held(self) -> Iterator[None]:
        with folder_locked(self.folder):
            yield

    def is_held(self) -> bool:
        return is_folder_locked(self.folder)

    @property
    def _path(self) -> Path:
        return self.folder / STORAGE_FILE


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
        return translating(Exception, lambda error: UserError(_unreadable(self, error)))

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


def find_study(storage: BaseStorage, name: str) -> int | None:
    """Optuna's number of one of its studies, None if there is none of this name."""
    with suppress(KeyError):
        return storage.get_study_id_from_name(name)
    return None


def remove_study(storage: BaseStorage, name: str) -> None:
    """Remove one of Optuna's studies, where there is one of this name."""
    if (study_id := find_study(storage, name)) is not None:
        storage.delete_study(study_id)


def read_owner(storage: BaseStorage, name: str) -> str | None:
    """The study that the trials of an Optuna study belong to; None where that is not said, or there is none."""
    study_id = find_study(storage, name)
    return None if study_id is None else storage.get_study_user_attrs(study_id).get(OWNER)


def _unreadable(store: TrialStore, error: Exception) -> str:
    return f"{store}: can not be read: {masked(storage_reason(error))}"
