"""Where studies live: a folder, or a bucket; and where their truth is kept: a file in each study, or a database."""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.bucket import Bucket, bucket_at
from losstune.tuning.storage.database import Database, database_at
from losstune.tuning.storage.database_store import DatabaseStore
from losstune.tuning.storage.passwords import masked
from losstune.tuning.storage.plain_files import check_inside
from losstune.tuning.storage.scratch import private_folder
from losstune.tuning.storage.sqlite_store import SqliteStore
from losstune.tuning.storage.study_files import SPEC_FILE, BucketFiles, FolderFiles, StudyFiles
from losstune.tuning.storage.trial_store import TrialStore

STUDIES = "studies"
STORAGE = "LOSSTUNE_STORAGE"
STUDY_STORAGE = "LOSSTUNE_STUDY_STORAGE"
"""Environment variables; the second may hold a password."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Home:
    """A place for studies.

    Attributes:
        root: the folder that holds ``studies/``; where they are in a bucket, a private one for copies.
        bucket: where they are kept, None if in the folder.
        database: Optuna's storage for all of them; None is a SQLite file in each study's folder.
    """

    root: Path
    bucket: Bucket | None = None
    database: Database | None = None

    @property
    def where(self) -> str:
        """The folder or the bucket, as ``--storage`` takes it."""
        return str(self.bucket or self.root.absolute())

    def files(self, name: str, study_id: str = "") -> StudyFiles:
        """The files of a study of this name, there or not.

        Raises:
            UserError: the name can not be a folder's.
        """
        if not _NAME.fullmatch(name):
            raise UserError(
                f"study name {name!r}: a name is 1 to 64 letters, digits, '.', '_' and '-', "
                "and starts with a letter or digit"
            )
        folder = self.root.absolute() / STUDIES / name
        if self.bucket is None:
            return FolderFiles(folder)
        return BucketFiles(folder, self.bucket.below(f"{STUDIES}/{name}"), study_id)

    def folder(self, name: str) -> Path:
        """Folder of a study of this name, there or not: ``ROOT/studies/NAME``, absolute.

        Raises:
            UserError: the name can not be a folder's.
        """
        return self.files(name).folder

    def trial_store(self, name: str, study_id: str = "") -> TrialStore:
        """Where the trials of a study of this name are, or would be.

        Raises:
            UserError: the name can not be a folder's.
        """
        folder = self.folder(name)
        if self.database is None:
            return SqliteStore(folder)
        return DatabaseStore(self.database, name, study_id, self.where)

    @contextmanager
    def locked(self, name: str) -> Iterator["Home"]:
        """Hold a study for one launch, for the time of the block. Gives the place as its holder is to use it.

        Raises:
            UserError: another process holds it (says which), or the folder can not be written.
        """
        check_inside(self.folder(name))
        with self.trial_store(name).held() as database:
            yield replace(self, database=database)

    def names(self) -> list[str]:
        """Names of all studies here, sorted."""
        if self.bucket is None:
            return sorted(path.parent.name for path in (self.root / STUDIES).glob(f"*/{SPEC_FILE}"))
        found = (name for name in self.bucket.names(STUDIES) if _NAME.fullmatch(name))
        return [name for name in found if self.bucket.find(f"{STUDIES}/{name}/{SPEC_FILE}")]

    def environment(self) -> dict[str, str]:
        """What brings a process that is started from here to the same place."""
        return {STORAGE: self.where, STUDY_STORAGE: self.database.uri if self.database else ""}

    def options(self) -> str:
        """What a command needs to come here, for a shell, passwords masked; what the environment says is left out."""
        place = str(self.bucket or self.root)
        storage = shell_option("--storage", place, STORAGE) if place != str(Path()) else ""
        return storage + (shell_option("--study-storage", self.database.uri, STUDY_STORAGE) if self.database else "")


def shell_option(option: str, value: str, variable: str) -> str:
    """A blank and the option as a shell takes it, passwords masked; nothing where that variable says the same."""
    return f" {option} {shlex.quote(masked(value))}" if value != os.environ.get(variable) else ""


@contextmanager
def home_at(storage: str, study_storage: str | None) -> Iterator[Home]:
    """What ``--storage`` and ``--study-storage`` name; nothing is connected yet.

    Raises:
        UserError: they are no such addresses, or do not go together.
    """
    database = database_at(study_storage) if study_storage else None
    if "://" not in storage:
        yield Home(Path(storage), database=database)
        return
    bucket = bucket_at(storage)
    if database is None:
        raise UserError(f"--storage {bucket} needs --study-storage postgresql://…: SQLite can not be kept in a bucket")
    with private_folder() as copies:
        yield Home(copies, bucket, database)
