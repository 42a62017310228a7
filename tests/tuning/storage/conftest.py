"""A bucket without a store, whose objects are files, and a database without a server, whose trials are in memory."""

from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from pyarrow import fs

from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.storage.database import Database
from losstune.tuning.storage.trial_store import OWNER

POSTGRES = "postgresql://me:geheim@db.example/studies"


class FolderStore:
    """A folder as an S3 store sees its objects: what is written needs no folder made before."""

    def __init__(self, root: Path) -> None:
        self._files = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())

    def open_output_stream(self, path: str) -> Any:
        self._files.create_dir(path.rpartition("/")[0])
        return self._files.open_output_stream(path)

    def open_input_stream(self, path: str) -> Any:
        return self._files.open_input_stream(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


@pytest.fixture
def bucket(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr(Bucket, "_store", FolderStore(tmp_path_factory.mktemp("bucket")))
    return Bucket("team/data")


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


def fill(storage: BaseStorage, name: str, owner: str) -> None:
    study = storage.create_new_study([StudyDirection.MAXIMIZE], name)
    storage.set_study_user_attr(study, OWNER, owner)
