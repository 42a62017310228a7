"""How often the test split of some data was looked at, by all studies at one place.

In a folder it is one file, ``test_uses.jsonl``; in a bucket, one object for each use, which nobody changes.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import with_crc, without_crc, write_whole
from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.storage.home import Home

TEST_USES_FILE = "test_uses.jsonl"
_TEST_USES = "test_uses"

Use = dict[str, Any]
"""Which confirmation of which study."""


class SplitUses(Protocol):
    """The uses of the test split of all data."""

    def record(self, data_digest: str, use: Use) -> int:
        """Count a use, once however often it is recorded; returns how many were before it."""

    def of(self, data_digest: str) -> list[Use]:
        """The uses of the test split of some data, the first one first."""


def split_uses(home: Home) -> SplitUses:
    """Those of all studies at this place."""
    return BucketUses(home.bucket.below(_TEST_USES)) if home.bucket else FolderUses(home.root.absolute())


@dataclass(frozen=True)
class FolderUses:
    """Lines of a file, which one process at a time writes again with one more."""

    root: Path

    def record(self, data_digest: str, use: Use) -> int:
        with self._alone():
            uses = self.of(data_digest)
            if use in uses:
                return uses.index(use)
            path = self.root / TEST_USES_FILE
            before = path.read_bytes() if path.exists() else b""
            write_whole(path, before + _line(data_digest, use) + b"\n")
            return len(uses)

    def of(self, data_digest: str) -> list[Use]:
        path = self.root / TEST_USES_FILE
        lines = path.read_bytes().splitlines() if path.exists() else []
        read = (_read(line, f"{path}:{number}") for number, line in enumerate(lines, 1))
        return [use for digest, use in read if digest == data_digest]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Confirmations of other studies wait."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class BucketUses:
    """Objects, in the order in which they were written."""

    bucket: Bucket

    def record(self, data_digest: str, use: Use) -> int:
        uses = self.of(data_digest)
        if use not in uses:
            line = _line(data_digest, use)
            self.bucket.write(f"{data_digest}/{hashlib.sha256(line).hexdigest()[:16]}.json", line)
            uses = self.of(data_digest)
        return uses.index(use)

    def of(self, data_digest: str) -> list[Use]:
        stored = sorted(self.bucket.objects(data_digest), key=lambda one: (one.time_ns, one.key))
        content = self.bucket.read_many([one.key for one in stored])
        return [_read(content[one.key], f"{self.bucket}/{one.key}")[1] for one in stored if one.key in content]


def _line(data_digest: str, use: Use) -> bytes:
    return with_crc(json.dumps({"data_digest": data_digest, **use})).encode()


def _read(line: bytes, where: str) -> tuple[str, Use]:
    body = without_crc(line)
    if body is None:
        raise UserError(f"{where}: damaged, its checksum does not match; restore it from a backup")
    use = json.loads(body)
    return use.pop("data_digest"), use
