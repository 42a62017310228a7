"""A bucket of an S3-compatible store, or a part of one: whole objects under one prefix."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from losstune.trainer.base.errors import UserError, translating
from losstune.tuning.storage.passwords import masked

SCHEME = "s3://"
_TIMEOUT_SECONDS = 10.0
"""A store that sends nothing for this long is asked again, three times in all."""
_PIECE = 8 * 1024 * 1024
_AT_ONCE = 16


class BucketError(OSError, UserError):
    """A store that can not be reached, or refuses: to a launch the same as a disk that can not be used."""


@dataclass(frozen=True)
class Stored:
    """An object: its key below the bucket's prefix, its size in bytes, and when it was written, in Unix ns."""

    key: str
    size: int
    time_ns: int


@dataclass(frozen=True)
class Bucket:
    """All objects below one prefix. An object is written whole or not at all, and seen by all from then on.

    Attributes:
        path: ``BUCKET/PREFIX``.
        endpoint: address of the store, "" for Amazon's; region: "" for ``us-east-1``.
            Where the environment says something else, as on another machine, that goes before.
    """

    path: str
    endpoint: str = field(default_factory=lambda: _environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    region: str = field(default_factory=lambda: _environment("AWS_REGION", "AWS_DEFAULT_REGION"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.path}"

    def below(self, prefix: str) -> "Bucket":
        """The part of it under a prefix."""
        return Bucket(f"{self.path}/{prefix}", self.endpoint, self.region)

    @cached_property
    def _store(self) -> fs.S3FileSystem:
        endpoint = _environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or self.endpoint
        return fs.S3FileSystem(
            endpoint_override=endpoint or None,
            region=_environment("AWS_REGION", "AWS_DEFAULT_REGION") or self.region or "us-east-1",
            connect_timeout=_TIMEOUT_SECONDS,
            request_timeout=_TIMEOUT_SECONDS,
            allow_delayed_open=True,  # one request for a small object
        )

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path, "endpoint": self.endpoint, "region": self.region}

    def read(self, key: str) -> bytes | None:
        """An object's content, None if there is none.

        Raises:
            BucketError: it can not be read.
        """
        with self._translating_errors(key):
            try:
                with self._store.open_input_stream(f"{self.path}/{key}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The content of many small objects, some of them at a time; without those that are not there."""
        keys = list(keys)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = zip(keys, pool.map(self.read, keys), strict=True)
            return {key: content for key, content in found if content is not None}

    def write(self, key: str, content: bytes) -> None:
        """Put an object in place of what has its key.

        Raises:
            BucketError: it can not be written.
        """
        self._put(key, content)

    def send(self, path: Path, key: str) -> None:
        """Put a file, however large."""
        with pa.memory_map(str(path)) as source:
            self._put(key, source.read_buffer())

    def fetch(self, key: str, path: Path) -> bool:
        """Write an object to a file, however large; whether there is one."""
        with self._translating_errors(key), suppress(FileNotFoundError):
            with self._store.open_input_stream(f"{self.path}/{key}") as stream, path.open("wb") as file:
                while piece := stream.read(_PIECE):
                    file.write(piece)
            return True
        return False

    def objects(self, prefix: str = "") -> list[Stored]:
        """All objects below a prefix, sorted by key.

        Raises:
            BucketError: they can not be listed.
        """
        where = f"{self.path}/{prefix}".rstrip("/")
        with self._translating_errors(prefix):
            found = self._store.get_file_info(fs.FileSelector(where, allow_not_found=True, recursive=True))
        start = len(self.path) + 1
        files = (one for one in found if one.type == fs.FileType.File)
        return sorted((Stored(one.path[start:], one.size, one.mtime_ns) for one in files), key=lambda one: one.key)

    def names(self, prefix: str) -> list[str]:
        """What stands directly below a prefix, as in a folder, sorted."""
        with self._translating_errors(prefix):
            where = f"{self.path}/{prefix}".rstrip("/")
            found = self._store.get_file_info(fs.FileSelector(where, allow_not_found=True))
        return sorted(one.base_name for one in found)

    def find(self, key: str) -> Stored | None:
        """One object, None if there is none."""
        with self._translating_errors(key):
            found = self._store.get_file_info(f"{self.path}/{key}")
        return Stored(key, found.size, found.mtime_ns) if found.type == fs.FileType.File else None

    def delete_all(self, last: str) -> None:
        """Remove all objects; ``last`` after all others."""
        for name in self.names(""):
            if name != last:
                self._delete(name)
        self._delete("")

    def _delete(self, name: str) -> None:
        where = f"{self.path}/{name}".rstrip("/")
        with self._translating_errors(name), suppress(FileNotFoundError):
            if self._store.get_file_info(where).type == fs.FileType.File:
                self._store.delete_file(where)
            else:
                self._store.delete_dir(where)

    def _put(self, key: str, content: bytes | pa.Buffer) -> None:
        with self._translating_errors(key), self._store.open_output_stream(f"{self.path}/{key}") as stream:
            stream.write(content)

    def _translating_errors(self, key: str) -> AbstractContextManager[None]:
        where = f"{self}/{key}".rstrip("/")
        return translating((OSError, pa.ArrowException), lambda error: BucketError(f"{where}: {_reason(error)}"))


def bucket_at(address: str) -> Bucket:
    """The bucket, or the part of it, of an ``s3://`` address; nothing is connected yet.

    Raises:
        UserError: it is no such address.
    """
    path = address.removeprefix(SCHEME).removesuffix("/")
    parts = path.split("/")
    if not address.startswith(SCHEME) or not all(parts) or any(c in path for c in "@?#\\") or {".", ".."} & {*parts}:
        raise UserError(f"--storage: found {masked(address)}; expected a folder, or s3://BUCKET/PREFIX")
    return Bucket(path)


def _environment(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _reason(error: Exception) -> str:
    """What the store said, without what pyarrow says before it."""
    said = str(error).splitlines()[0]
    return said[said.find("AWS Error") :] if "AWS Error" in said else said
