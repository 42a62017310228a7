"""Where a worker keeps a run, in a folder or in a bucket, and what it can do with it there, whichever it is."""

from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from losstune.tuning.storage.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from losstune.trainer.config.train_config import TrainConfig
    from losstune.trainer.run.history import Record
    from losstune.trainer.run.loop import Trainer
    from losstune.trainer.run.run_dir import Restored

ERROR_FILE = "error.txt"


class RunStore(Protocol):
    """A run that a worker has opened, which no worker before it can write to any more.

    All but ``holds_run`` raise ``StorageError`` where they can not read or write.
    """

    @property
    def holds_run(self) -> bool:
        """Whether a state to continue from is there."""

    def start(self, config: "TrainConfig") -> None:
        """Begin anew, with the config."""

    def save(self, trainer: "Trainer", records: "Iterable[Record]") -> None:
        """Make the epochs since the last save durable, with the state after them."""

    def restore(self, trainer: "Trainer") -> "Restored":
        """Put the trainer into the newest state that is whole; ``DamagedCheckpointError`` if none is."""


class RunPlace(Protocol):
    """Where a run is kept, as the driver hands it to a worker on any machine."""

    def opened(self, attempt: int) -> AbstractContextManager[RunStore]:
        """The run, for a worker of the launch of this number; after the block only what is kept is left of it.

        Raises:
            StorageError: it can not be read.
        """

    def keep_error(self, text: str) -> None:
        """Keep the whole text of an exception with the run that it ended.

        Raises:
            OSError: it can not be written.
        """


@dataclass(frozen=True)
class FolderPlace:
    """A folder of its own, absolute, that the driver and all workers see."""

    path: Path

    def opened(self, attempt: int) -> AbstractContextManager[RunStore]:
        from losstune.trainer.run.run_dir import RunDirectory  # who only reads a study needs no torch

        return nullcontext(RunDirectory(self.path, attempt))

    def keep_error(self, text: str) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / ERROR_FILE).write_bytes(text.encode(errors="backslashreplace"))


@dataclass(frozen=True)
class BucketPlace:
    """A part of a bucket.

    Attributes:
        bucket: all that is there of the run.
        study_id: the study's own.
    """

    bucket: Bucket
    study_id: str

    def opened(self, attempt: int) -> AbstractContextManager[RunStore]:
        from losstune.tuning.storage.bucket_run import BucketRun  # who only reads a study needs no torch

        return closing(BucketRun(self.bucket, self.study_id, attempt))

    def keep_error(self, text: str) -> None:
        self.bucket.write(ERROR_FILE, text.encode(errors="backslashreplace"))
