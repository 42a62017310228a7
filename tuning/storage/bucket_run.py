"""A run that a worker trains in a private folder, and keeps in a bucket."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack

from losstune.trainer.base.errors import translating
from losstune.trainer.base.files import write_whole
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.attempt import StorageError
from losstune.trainer.run.checkpoint import DamagedCheckpointError
from losstune.trainer.run.history import Record, history_line
from losstune.trainer.run.layout import BEST_FILE, CONFIG_FILE, HISTORY_FILE, LAST_FILE
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import Restored, RunDirectory
from losstune.tuning.storage.bucket import Bucket, BucketError
from losstune.tuning.storage.bucket_layout import Opening, RunObjects, part_name
from losstune.tuning.storage.scratch import private_folder


class BucketRun:
    """Writes a run as it trains, and restores it: as :class:`RunDirectory` does, and sends it to the bucket.

    Order of sending: config, history, best model, last state. A ``last.pt`` that is there has all before it.
    """

    def __init__(self, bucket: Bucket, study_id: str, attempt: int) -> None:
        """Look what is there.

        Args:
            bucket: all that is there of the run.
            study_id: the study's own; openings of another one are not seen.
            attempt: number of the launch that this worker belongs to.

        Raises:
            StorageError: the bucket can not be read.
        """
        self._bucket = bucket
        self._owned = ExitStack()
        self._folder = self._owned.enter_context(private_folder()) / "run"
        self._local = RunDirectory(self._folder)
        self._sent_best = 0
        with self._translating_errors():
            self._objects = RunObjects((one.key for one in self._bucket.objects()), study_id)
        self._own = self._bucket.below(str(self._objects.next(attempt)))

    @property
    def holds_run(self) -> bool:
        """Whether a state to continue from is there."""
        return bool(self._objects.with_state)

    def start(self, config: TrainConfig) -> None:
        """Begin anew, with the config.

        Raises:
            StorageError: it can not be written, here or in the bucket.
        """
        self._local.start(config)
        self._sent_best = 0
        with self._translating_errors():
            self._own.send(self._folder / CONFIG_FILE, CONFIG_FILE)

    def save(self, trainer: Trainer, records: Iterable[Record]) -> None:
        """Make the epochs since the last save durable, with the state after them.

        Raises:
            StorageError: it can not be written, here or in the bucket.
        """
        records = list(records)
        self._local.save(trainer, records)
        self._send(trainer, records)

    def restore(self, trainer: Trainer) -> Restored:
        """Put the trainer into the newest state that is whole, and keep that as the begin of this opening.

        Raises:
            DamagedCheckpointError: no state is whole; says what is wrong with each file.
            StorageError: the bucket can not be read or written.
        """
        damage: list[str] = []
        for opening in self._objects.with_state:
            with self._translating_errors():
                self._fetch(opening)
            try:
                restored = self._local.restore(trainer)
            except DamagedCheckpointError as error:
                damage += self._told(error, opening)
                continue
            damage += [text for said in restored.damage for text in self._told(said, opening)]
            with self._translating_errors():
                self._own.send(self._folder / CONFIG_FILE, CONFIG_FILE)
            self._send(trainer, restored.records)
            return Restored(restored.records, damage)
        raise DamagedCheckpointError("\n".join(damage))

    def close(self) -> None:
        """Remove what is left of it on this machine."""
        self._owned.close()

    def _fetch(self, opening: Opening) -> None:
        """An opening's files in place of what is in the folder."""
        self._folder.mkdir(exist_ok=True)
        parts = self._objects.parts(opening)
        found = self._bucket.read_many(parts)
        write_whole(self._folder / HISTORY_FILE, b"".join(found.get(part, b"") for part in parts))
        for name in (BEST_FILE, LAST_FILE):
            if not self._bucket.fetch(f"{opening}/{name}", self._folder / name):
                (self._folder / name).unlink(missing_ok=True)

    def _send(self, trainer: Trainer, records: list[Record]) -> None:
        with self._translating_errors():
            if records:
                lines = "".join(map(history_line, records)).encode()
                self._own.write(part_name(int(records[0]["epoch"])), lines)
            if trainer.best_epoch > self._sent_best:
                self._own.send(self._folder / BEST_FILE, BEST_FILE)
                self._sent_best = trainer.best_epoch
            self._own.send(self._folder / LAST_FILE, LAST_FILE)

    def _told(self, error: object, opening: Opening) -> list[str]:
        """Damage as the user finds it: in the bucket."""
        return [str(error).replace(str(self._folder), f"{self._bucket}/{opening}")]

    def _translating_errors(self) -> AbstractContextManager[None]:
        return translating(BucketError, lambda error: StorageError(str(error)), untouched=())
