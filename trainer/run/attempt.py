"""Who may write a run: of all workers that have opened it, the last one of the newest launch."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.layout import ATTEMPT_FILE


class StorageError(UserError):
    """A run's folder can not be written: storage is full, read-only or gone. Nothing is wrong with the run."""


class StaleAttemptError(StorageError):
    """A newer launch, or another worker of the same one, has taken this run over."""


@dataclass(frozen=True)
class Writer:
    """One worker of a launch.

    Attributes:
        attempt: number of the launch. Once a higher one has opened a run, lower ones can not write to it: a worker may
            live on for seconds after its launch was killed.
        worker: its own. Of the workers of one launch the last that opened the run writes: a machine that nobody
            reaches may train on.
    """

    attempt: int
    worker: str = field(default_factory=lambda: uuid4().hex)

    @contextmanager
    def admitted(self, folder: Path, *, opening: bool) -> Iterator[None]:
        """A block in which no other worker writes the run of this folder; ``opening`` takes it over from them.

        Raises:
            StaleAttemptError: it belongs to a newer launch, or to another worker.
        """
        descriptor = os.open(folder / ATTEMPT_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            newest = newest_attempt(folder)
            if newest > self.attempt:
                raise StaleAttemptError(f"{folder}: launch {newest} has taken it over from launch {self.attempt}")
            holder = os.pread(descriptor, 32, 20).decode(errors="replace")
            if not opening and newest == self.attempt and holder.isalnum() and holder != self.worker:
                raise StaleAttemptError(f"{folder}: another worker of launch {newest} has taken it over")
            os.pwrite(descriptor, f"{self.attempt:020d}{self.worker}".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def newest_attempt(folder: Path) -> int:
    """The highest attempt that has opened a run, 0 if none has; after a power cut its file may be empty, or zeros."""
    found = (folder / ATTEMPT_FILE).read_bytes()[:20]
    return int(found) if found.isdigit() else 0
