"""One run on disk: ``config.yaml``, ``history.jsonl``, ``best.pt`` and ``last.pt`` in a folder."""

import errno
import fcntl
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.files import (
    append_durably,
    check_seal,
    keep_as,
    make_folder,
    sealed,
    with_crc,
    without_crc,
    write_whole,
)
from losstune.trainer.base.yaml_file import dump_yaml, read_yaml
from losstune.trainer.config.train_config import TrainConfig, flatten
from losstune.trainer.model.frozen import check_frozen
from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint, save_checkpoint
from losstune.trainer.run.loop import Record, Trainer

CONFIG_FILE = "config.yaml"
HISTORY_FILE = "history.jsonl"
BEST_FILE = "best.pt"
LAST_FILE = "last.pt"
PREVIOUS_FILE = "previous.pt"
ATTEMPT_FILE = ".attempt"


@dataclass(frozen=True)
class ConfigFile:
    """A config as read from YAML: flat settings, and where it came from if a study exported it."""

    settings: dict[str, Any]
    source: dict[str, Any]


def read_config(path: Path) -> ConfigFile:
    """Read ``config.yaml`` or an exported YAML.

    Raises:
        UserError: with file and line, for anything that is not a valid config.
    """
    file = read_yaml(path)
    data = dict(file.data)
    source = data.pop("source", {})
    if not isinstance(source, dict):
        raise UserError(f"{file.where('source')}: source: found {source!r}; expected a mapping")
    settings = flatten(data)
    for name in settings:
        if isinstance(settings[name], list):
            raise UserError(f"{file.where(*name.split('.'))}: {name}: found a list; expected one value")
    TrainConfig.from_flat(settings, where=str(path))
    return ConfigFile(settings, source)


def read_run_config(path: Path) -> ConfigFile:
    """Read the ``config.yaml`` of a run, which nobody is to edit.

    Raises:
        UserError: it was damaged or edited.
    """
    check_seal(path)
    return read_config(path)


def config_yaml(config: TrainConfig, source: Mapping[str, Any] | None = None) -> str:
    """A config as YAML, every setting written out, its group ``model`` nested."""
    nested: dict[str, Any] = {}
    for name, value in config.flat().items():
        group, _, field = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[field] = value
    if source:
        nested["source"] = dict(source)
    return dump_yaml(nested)


class StorageError(UserError):
    """A run's folder can not be written: storage is full, read-only or gone. Nothing is wrong with the run."""


class StaleAttemptError(StorageError):
    """A newer launch, or another worker of the same one, has taken this run over."""


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
            attempt: number of the launch that this worker belongs to. Once a higher one has opened the run, lower
                ones can not write to it: a worker may live on for seconds after its launch was killed. Of the workers
                of one launch the last that opened the run writes: a machine that nobody reaches may train on.
        """
        self.path = path
        self._attempt = attempt
        self._worker = uuid4().hex
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
        """Put a state into the trainer; returns its epoch, which the history must reach."""
        content = load_checkpoint(path)
        check_frozen(trainer.frozen, trainer.config.model, content, path)
        state = content["state"]
        self._check_best(state["best_epoch"])
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

    def _check_best(self, best_epoch: int) -> None:
        """A state is of no use without the best model before it."""
        if best_epoch > 0:
            load_checkpoint(self.path / BEST_FILE)

    @contextmanager
    def _writing(self, *, opening: bool = False) -> Iterator[None]:
        """The folder, created, for a writer whose attempt is the newest; ``opening`` takes it over from other workers.

        Raises:
            StorageError: it can not be written, or belongs to a newer attempt, or to another worker.
        """
        try:
            if self._attempt is not None and not self.path.parent.exists():  # a study that is gone is not made again
                raise FileNotFoundError(errno.ENOENT, f"{self.path.parent} is gone")
            make_folder(self.path)
            with self._fenced(opening=opening):
                yield
        except OSError as error:
            raise StorageError(f"{self.path}: can not be written: {error.strerror}") from None

    @contextmanager
    def _fenced(self, *, opening: bool) -> Iterator[None]:
        if self._attempt is None:
            yield
            return
        descriptor = os.open(self.path / ATTEMPT_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            newest = newest_attempt(self.path)
            if newest > self._attempt:
                raise StaleAttemptError(f"{self.path}: launch {newest} has taken it over from launch {self._attempt}")
            worker = os.pread(descriptor, 32, 20).decode(errors="replace")
            if not opening and newest == self._attempt and worker.isalnum() and worker != self._worker:
                raise StaleAttemptError(f"{self.path}: another worker of launch {newest} has taken it over")
            os.pwrite(descriptor, f"{self._attempt:020d}{self._worker}".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def newest_attempt(folder: Path) -> int:
    """The highest attempt that has opened a run, 0 if none has; after a power cut its file may be empty, or zeros."""
    found = (folder / ATTEMPT_FILE).read_bytes()[:20]
    return int(found) if found.isdigit() else 0


def describe_run(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint says of its run beside weights: config, data, the model's shapes, and what is frozen in it."""
    data = trainer.data
    return ({"frozen": trainer.frozen} if trainer.frozen else {}) | {
        "config": trainer.config.flat(),
        "data_digest": data.digest,
        "input_shape": list(data.train.inputs.shape[1:]),
        "input_dtype": str(data.train.inputs.dtype).removeprefix("torch."),
        "output_dim": data.train.targets.shape[1],
    }


def to_json(record: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN or infinity: they are written as the strings ``"nan"``, ``"inf"``, ``"-inf"``."""
    return {name: value if math.isfinite(value) else str(value) for name, value in record.items()}


def history_line(record: Mapping[str, float]) -> str:
    """One epoch as a line of ``history.jsonl``; its last field is the CRC-32 of the JSON without it."""
    return with_crc(json.dumps(to_json(record))) + "\n"


def read_history(path: Path) -> list[Record]:
    """Epochs of a ``history.jsonl``, in order; a last line that was cut short is left out.

    Raises:
        UserError: a line is damaged; says which.
    """
    records, damage = read_whole_lines(path)
    if damage:
        raise UserError(damage[0])
    return records


def read_whole_lines(path: Path) -> tuple[list[Record], list[str]]:
    """The epochs up to the first damaged line, and what is wrong with it, if there is one."""
    if not path.exists():
        return [], []
    records: list[Record] = []
    for line in io.BytesIO(path.read_bytes()):  # splitlines would take a damaged byte for the end of a line
        if not line.endswith(b"\n"):
            break
        body = without_crc(line[:-1])
        if body is None:
            return records, [f"{path}:{len(records) + 1}: damaged, not as it was written: {line[:60]!r}"]
        fields = json.loads(body)
        records.append({name: value if name == "epoch" else float(value) for name, value in fields.items()})
    return records, []
