"""The trials of one study in a SQLite file of its own folder."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.storages import BaseStorage, RDBStorage

from losstune.trainer.base.errors import UserError, translating
from losstune.trainer.base.files import with_crc, without_crc, write_whole
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.lock import folder_locked, is_folder_locked
from losstune.tuning.storage.sqlite_url import sqlite_url
from losstune.tuning.storage.trial_store import Kind, unreadable_text

STORAGE_FILE = "optuna.db"
ATTEMPT_FILE = "attempt"
BACKUP_ADVICE = "restore it from a backup, or start another study"
_NO_DAMAGE = re.compile("disk I/O|disk is full|readonly|unable to open|locked")
"""What SQLite says when the storage can not be used now, whole as it may be."""


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
        return translating(
            Exception, lambda error: UserError(f"{unreadable_text(self, error)}; restore it from a backup")
        )

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
