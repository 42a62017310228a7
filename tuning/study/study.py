"""A study: its frozen spec, its folder, its Optuna storage, and the lock that keeps it to one launch."""

import json
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from pydantic import BaseModel, ConfigDict, ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import check_seal, make_folder, sealed, with_crc, without_crc, write_whole
from losstune.trainer.base.references import is_reference
from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml, read_yaml
from losstune.trainer.config.train_config import describe
from losstune.trainer.losses import is_loss_name
from losstune.tuning.space.reader import read_space
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.home import STUDIES, Home
from losstune.tuning.storage.passwords import masked
from losstune.tuning.storage.plain_files import check_inside
from losstune.tuning.storage.study_files import SPEC_FILE, StudyFiles
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.loss_trials import LossTrials, delete_trials, read_dropped, read_owner, read_trials
from losstune.tuning.study.trial import TrialView
from losstune.tuning.study.versions import versions_now

STORAGE_FILE = "optuna.db"
TRIALS = "trials"
ATTEMPT_FILE = "attempt"


class StudySpec(BaseModel):
    """What a study is, for good; only its budget may be raised later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    created: str
    data_source: str
    data_digest: str
    settings: StudySettings
    spaces: dict[str, dict[str, Any]]
    versions: dict[str, str]
    git_commit: str | None
    changes: list[dict[str, str]] = []
    """What other versions it went on with, and when: ``{"at": …, "torch": "2.13.0 in the study, 2.14.0 now"}``."""
    id: str = ""
    """Tells it from another study of its name in the same database or bucket; random."""

    def search_spaces(self) -> dict[str, SearchSpace]:
        """The frozen space of each loss, in the order of the first launch.

        Raises:
            UserError: a loss can not be imported, or has another name now.
        """
        spaces = {}
        for loss, source in self.spaces.items():
            file = f"{self.name}/{SPEC_FILE} ({loss})"
            spaces[loss] = read_space(parse_yaml(dump_yaml(source), file))
            if spaces[loss].loss_fn != loss:
                raise UserError(f"{file}: {source['loss_fn']} is named {spaces[loss].loss_fn!r} now; expected {loss!r}")
        return spaces


@dataclass(frozen=True)
class Study:
    """An existing study: ``ROOT/studies/NAME`` and what its spec says."""

    home: Home
    spec: StudySpec

    @cached_property
    def files(self) -> StudyFiles:
        """How its files are read and written."""
        return self.home.files(self.spec.name, self.spec.id)

    @property
    def folder(self) -> Path:
        """``ROOT/studies/NAME``, absolute; of a study in a bucket it has copies."""
        return self.files.folder

    @property
    def trials_folder(self) -> Path:
        """Where each trial has its own folder."""
        return self.folder / TRIALS

    @property
    def storage_name(self) -> str:
        """Optuna's storage of this study, for messages."""
        return str(self.home.database or self.folder / STORAGE_FILE)

    @property
    def truth(self) -> str:
        """The same in a word."""
        return "the database" if self.home.database else STORAGE_FILE

    def optuna_name(self, loss_fn: str) -> str:
        """What the trials of a loss are called in Optuna's storage: a database has those of other studies too."""
        return f"{self.spec.name}/{loss_fn}" if self.home.database else loss_fn

    def storage(self) -> BaseStorage:
        """Optuna's storage of this study.

        Raises:
            UserError: it can not be read, or holds another study of this name.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self.home.database:
            storage = self.home.database.storage()
            with self.reading_storage():
                self._check_own(storage)
            return storage
        path = self.folder / STORAGE_FILE
        if not path.exists():
            # A commit takes a third of the time, and readers never hold up the launch. The mode stays in the file.
            with closing(sqlite3.connect(path)) as fresh:
                fresh.execute("PRAGMA journal_mode=WAL")
        with self.reading_storage():
            return optuna.storages.get_storage(f"sqlite:///{path}")

    def _check_own(self, storage: BaseStorage) -> None:
        for loss in self.spec.spaces:
            owner = read_owner(storage, self.optuna_name(loss))
            if owner not in (None, self.spec.id):
                raise UserError(
                    f"{self.storage_name} holds trials of another study {self.spec.name!r}, which is not the one in "
                    f"{self.home.where}; use another --study name, or another database"
                )

    def open_trials(self, storage: BaseStorage) -> dict[str, LossTrials]:
        """The trials of every loss, to be written; creates what is missing."""
        return {
            loss: LossTrials(storage, loss, space, self.optuna_name(loss), self.spec.id)
            for loss, space in self.spec.search_spaces().items()
        }

    def trials(self, storage: BaseStorage | None = None) -> dict[str, list[TrialView]]:
        """All trials of each loss."""
        storage = storage or self.storage()
        with self.reading_storage():
            return {loss: read_trials(storage, loss, self.optuna_name(loss)) for loss in self.spec.spaces}

    @contextmanager
    def reading_storage(self) -> Iterator[None]:
        """What goes wrong in this block is one message: on a damaged storage Optuna raises whatever it stumbles over.

        Raises:
            UserError: it can not be read.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = f"{self.storage_name}: can not be read: {masked(storage_reason(error))}"
            raise UserError(reason if self.home.database else f"{reason}; restore it from a backup") from None

    def next_attempt(self) -> int:
        """The number of this launch, higher than of any before; to be called by the holder of the lock."""
        newest = self.files.newest_attempt()
        if self.home.database and self.home.database.lease:
            return self.home.database.lease.next_attempt(least=newest + 1)
        path = self.folder / ATTEMPT_FILE
        before = without_crc(path.read_bytes()) if path.exists() else None
        if before:  # damaged: the runs' own files say what was
            newest = max(newest, json.loads(before)["attempt"])
        number: int = 1 + newest
        write_whole(path, with_crc(json.dumps({"attempt": number})).encode())
        return number

    def dropped(self) -> list[Dropped]:
        """The losses that are out of the race, in the study's order."""
        storage = self.storage()
        with self.reading_storage():
            found = [read_dropped(storage, self.optuna_name(loss)) for loss in self.spec.spaces]
        return [Dropped.from_dict(drop) for drop in found if drop]

    def save(self) -> None:
        """Write the spec."""
        self.files.write(self.folder / SPEC_FILE, sealed(dump_yaml(self.spec.model_dump())).encode())

    def delete(self) -> None:
        """Remove it for good, its trials first: cut short, it is there to be deleted again."""
        if self.home.database:
            storage = self.home.database.storage()
            for loss in self.spec.spaces:
                delete_trials(storage, self.optuna_name(loss))
        self.files.delete()


@contextmanager
def usable(home: Home, name: str) -> Iterator[None]:
    """Where the files or the trials of a study can not be read or written in this block, it is one message.

    Raises:
        UserError: says why not.
    """
    try:
        yield
    except UserError:
        raise
    except STORAGE_FAILURES as error:
        files = home.files(name)
        reason = masked(storage_reason(error))
        raise UserError(f"{files.where(files.folder)}: can not be read or written: {reason}") from None


def study_exists(home: Home, name: str) -> bool:
    """Whether there is a study of this name.

    Raises:
        UserError: the name can not be a folder's.
    """
    path = home.folder(name) / SPEC_FILE
    home.files(name).keep(path)
    return path.exists()


def open_study(home: Home, name: str) -> Study:
    """An existing study.

    Raises:
        UserError: there is none of this name; says which there are.
    """
    path = home.folder(name) / SPEC_FILE
    check_inside(path.parent)
    if not study_exists(home, name):
        names = ", ".join(home.names()) or "none"
        raise UserError(f"no study {name!r} in {home.where}/{STUDIES}; found: {names}")
    check_seal(path)
    try:
        spec = StudySpec.model_validate(read_yaml(path).data)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error)}") from None
    if spec.name != name:
        raise UserError(f"{path}: name: found {spec.name!r}; expected {name!r}, as its folder")
    for loss, space in spec.spaces.items():
        named = space.get("loss_fn")
        own_class = is_reference(named) and is_loss_name(loss)  # says its name only when it is imported
        if named != loss and not own_class:
            raise UserError(f"{path}: spaces → {loss}: loss_fn: found {named!r}; expected {loss!r}")
    return Study(home, spec)


def create_study(
    home: Home, name: str, spaces: list[SearchSpace], settings: StudySettings, data_source: str, data_digest: str
) -> Study:
    """Write a new study's folder and spec."""
    spec = StudySpec(
        name=name,
        created=utc_now(),
        data_source=data_source,
        data_digest=data_digest,
        settings=settings,
        spaces={space.loss_fn: dict(space.source) for space in spaces},
        versions=versions_now(),
        git_commit=_git_commit(),
        id=secrets.token_hex(8),
    )
    study = Study(home, spec)
    make_folder(study.trials_folder)
    study.save()
    return study


def utc_now() -> str:
    """The time as specs have it: ``2026-01-31T09:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _git_commit() -> str | None:
    """Commit of the user's own repository in the working directory, if there is one."""
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        return found.stdout.strip()
    return None
