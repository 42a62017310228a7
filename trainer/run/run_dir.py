"""One run on disk: ``config.yaml``, ``history.jsonl``, ``best.pt`` and ``last.pt`` in a folder."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.files import append_durably, keep_as, make_folder, sealed, write_whole
from losstune.trainer.config.config_file import config_yaml
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.model.frozen import check_frozen
from losstune.trainer.run.attempt import StorageError, Writer
from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from losstune.trainer.run.history import Record, history_line, read_whole_lines
from losstune.trainer.run.layout import BEST_FILE, CONFIG_FILE, HISTORY_FILE, LAST_FILE, PREVIOUS_FILE
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.same_settings import check_settings


@dataclass(frozen=True)
class Restored:
    """The history up to the state that a run goes on from, and what was damaged on the way there."""

    records: list[Record]
    damage: list[str]


class RunDirectory:
    """Writes a run as it trains, and restores it.

    Order of writing: history, best model, last state. Whatever is cut short, ``last.pt`` is a state whose
    history is on disk; lines after it are dropped on restore and trained again, to the same numbers. The state
    before it is kept beside it, for the day on which ``last.pt`` is damaged.
    """

    def __init__(self, path: Path, attempt: int | None = None) -> None:
        """Nothing is touched yet.

        Args:
            attempt: number of the launch that this worker belongs to, by which it is told from others that may still
                write the run, as :class:`Writer` says; None where there are no others.
        """
        self.path = path
        self._writer = None if attempt is None else Writer(attempt)
        self._saved_best = 0

    @property
    def holds_run(self) -> bool:
        """Whether a state to continue from is here."""
        return (self.path / LAST_FILE).exists() or (self.path / PREVIOUS_FILE).exists()

    def start(self, config: TrainConfig) -> None:
        """Create the folder, clear a former run, and write the config.

        Raises:
            StorageError: the folder can not be written.
        """
        with self._writing(opening=True):
            for name in (LAST_FILE, PREVIOUS_FILE, BEST_FILE, HISTORY_FILE):
                (self.path / name).unlink(missing_ok=True)
            self._write_config(config)
        self._saved_best = 0

    def save(self, trainer: Trainer, records: Iterable[Record]) -> None:
        """Make the epochs since the last save durable, with the state after them.

        Raises:
            StorageError: the folder can not be written, for want of room or otherwise.
        """
        with self._writing():
            self._save(trainer, records)

    def _save(self, trainer: Trainer, records: Iterable[Record]) -> None:
        append_durably(self.path / HISTORY_FILE, "".join(map(history_line, records)).encode())
        about = describe_run(trainer)
        if trainer.best_epoch > self._saved_best:
            best = {"epoch": trainer.best_epoch, "value": trainer.best_value, "model": trainer.best_state}
            save_checkpoint(self.path / BEST_FILE, about | best)
            self._saved_best = trainer.best_epoch
        keep_as(self.path / LAST_FILE, self.path / PREVIOUS_FILE)
        save_checkpoint(self.path / LAST_FILE, about | {"state": trainer.state()})
        if trainer.end is not None:
            (self.path / PREVIOUS_FILE).unlink(missing_ok=True)

    def _write_config(self, config: TrainConfig) -> None:
        write_whole(self.path / CONFIG_FILE, sealed(config_yaml(config)).encode())

    def restore(self, trainer: Trainer) -> Restored:
        """Put the trainer into the newest state that is whole, with its history.

        Raises:
            DamagedCheckpointError: no state is whole; says what is wrong with each file.
            StorageError: the folder can not be written.
        """
        records, damage = read_whole_lines(self.path / HISTORY_FILE)
        for name in (LAST_FILE, PREVIOUS_FILE):
            path = self.path / name
            if name == PREVIOUS_FILE and not path.exists():
                continue
            try:
                epoch = self._load(trainer, path, records)
            except UserError as error:
                damage.append(str(error))
            except Exception as error:  # a state that is whole, and not of such a run: whatever loading stumbles over
                damage.append(f"checkpoint {path}: not a state of this run: {one_line(error)}")
            else:
                return self._go_on(trainer, records[:epoch], damage)
        raise DamagedCheckpointError("\n".join(damage))

    def _load(self, trainer: Trainer, path: Path, records: list[Record]) -> int:
        """Put a state of this run into the trainer; returns its epoch, which the history must reach."""
        content = load_checkpoint(path)
        check_settings(content["config"], trainer.config, path)
        check_frozen(trainer.frozen, trainer.config.model, content, path)
        state = content["state"]
        if state["best_epoch"] > 0:  # a state is of no use without the best model before it
            best = self.path / BEST_FILE
            check_settings(load_checkpoint(best)["config"], trainer.config, best)
        epoch: int = state["epoch"]
        if [record["epoch"] for record in records[:epoch]] != list(range(1, epoch + 1)):
            raise UserError(
                f"{self.path / HISTORY_FILE}: holds {len(records)} epochs, {path.name} {epoch}; the history is damaged"
            )
        trainer.load_state(state)
        return epoch

    def _go_on(self, trainer: Trainer, records: list[Record], damage: list[str]) -> Restored:
        with self._writing(opening=True):
            self._write_config(trainer.config)
            write_whole(self.path / HISTORY_FILE, "".join(map(history_line, records)).encode())
        self._saved_best = trainer.best_epoch
        return Restored(records, damage)

    @contextmanager
    def _writing(self, *, opening: bool = False) -> Iterator[None]:
        """The folder, created, for a writer whose attempt is the newest; ``opening`` takes it over from other workers.

        Raises:
            StorageError: it can not be written, or belongs to a newer attempt, or to another worker.
        """
        try:
            if self._writer is None:
                make_folder(self.path)
                yield
                return
            if not self.path.parent.exists():  # a study that is gone is not made again
                raise FileNotFoundError(errno.ENOENT, f"{self.path.parent} is gone")
            make_folder(self.path)
            with self._writer.admitted(self.path, opening=opening):
                yield
        except OSError as error:
            raise StorageError(f"{self.path}: can not be written: {error.strerror}") from None


def describe_run(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint says of its run beside weights: config, data, shapes, the centre, what is frozen."""
    data = trainer.data
    center = {} if trainer.center is None else {"center": trainer.center.cpu()}
    return (
        ({"frozen": trainer.frozen} if trainer.frozen else {})
        | center
        | {
            "config": trainer.config.flat(),
            "data_digest": data.digest,
            "input_shape": list(data.train.inputs.shape[1:]),
            "input_dtype": str(data.train.inputs.dtype).removeprefix("torch."),
            "output_dim": data.train.targets.shape[1],
        }
    )
