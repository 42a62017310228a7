"""A bucket without a store: its objects are files."""

from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from losstune.tuning.storage.bucket import Bucket


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
