"""One run on disk: ``config.yaml``, ``history.jsonl``, ``best.pt`` and ``last.pt`` in a folder."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.checkpoint import load_checkpoint, save_checkpoint, write_whole
from trainer.config import TrainConfig, flatten
from trainer.errors import UserError
from trainer.loop import Record, Trainer
from trainer.yaml_file import dump_yaml, read_yaml

CONFIG_FILE = "config.yaml"
HISTORY_FILE = "history.jsonl"
BEST_FILE = "best.pt"
LAST_FILE = "last.pt"


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


def config_yaml(config: TrainConfig, source: Mapping[str, Any] | None = None) -> str:
    """A config as YAML, every setting written out, its group ``model`` nested."""
    nested: dict[str, Any] = {}
    for name, value in config.flat().items():
        group, _, field = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[field] = value
    if source:
        nested["source"] = dict(source)
    return dump_yaml(nested)


class RunDirectory:
    """Writes a run as it trains, and restores it.

    Order of writing: history, best model, last state. Whatever is cut short, ``last.pt`` is a state whose
    history is on disk; lines after it are dropped on restore and trained again, to the same numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved_best = 0

    @property
    def holds_run(self) -> bool:
        """Whether a state to continue from is here."""
        return (self.path / LAST_FILE).exists()

    def start(self, config: TrainConfig) -> None:
        """Create the folder, clear a former run, and write the config.

        Raises:
            UserError: the folder can not be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (LAST_FILE, BEST_FILE, HISTORY_FILE):
                (self.path / name).unlink(missing_ok=True)
            write_whole(self.path / CONFIG_FILE, config_yaml(config).encode())
        except OSError as error:
            raise UserError(f"{self.path}: can not be written: {error.strerror}") from None
        self._saved_best = 0

    def save(self, trainer: Trainer, records: Iterable[Record]) -> None:
        """Make the epochs since the last save durable, with the state after them.

        Raises:
            UserError: the folder can not be written, for want of room or otherwise.
        """
        try:
            self._save(trainer, records)
        except OSError as error:
            raise UserError(f"{self.path}: can not be written: {error.strerror}") from None

    def _save(self, trainer: Trainer, records: Iterable[Record]) -> None:
        lines = "".join(json.dumps(to_json(record)) + "\n" for record in records)
        with (self.path / HISTORY_FILE).open("a") as stream:
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())
        about = describe_run(trainer)
        if trainer.best_epoch > self._saved_best:
            best = {"epoch": trainer.best_epoch, "value": trainer.best_value, "model": trainer.best_state}
            save_checkpoint(self.path / BEST_FILE, about | best)
            self._saved_best = trainer.best_epoch
        save_checkpoint(self.path / LAST_FILE, about | {"state": trainer.state()})

    def restore(self, trainer: Trainer) -> list[Record]:
        """Put the trainer into the last saved state; returns the history up to it.

        Raises:
            UserError: the checkpoint is damaged, or its history does not reach it.
        """
        trainer.load_state(load_checkpoint(self.path / LAST_FILE)["state"])
        records = read_history(self.path / HISTORY_FILE)[: trainer.epoch]
        if [record["epoch"] for record in records] != list(range(1, trainer.epoch + 1)):
            raise UserError(
                f"{self.path / HISTORY_FILE}: holds {len(records)} epochs, the checkpoint {trainer.epoch}; "
                "the history is damaged"
            )
        text = "".join(json.dumps(to_json(record)) + "\n" for record in records)
        write_whole(self.path / HISTORY_FILE, text.encode())
        self._saved_best = trainer.best_epoch
        return records


def describe_run(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint says of its run beside weights: config, data, and the model's shapes."""
    data = trainer.data
    return {
        "config": trainer.config.flat(),
        "data_digest": data.digest,
        "input_shape": list(data.train.inputs.shape[1:]),
        "output_dim": data.train.targets.shape[1],
    }


def to_json(record: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN or infinity: they are written as the strings ``"nan"``, ``"inf"``, ``"-inf"``."""
    return {name: value if math.isfinite(value) else str(value) for name, value in record.items()}


def read_history(path: Path) -> list[Record]:
    """Epochs of a ``history.jsonl``, in order; a last line that was cut short is left out."""
    if not path.exists():
        return []
    records: list[Record] = []
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        try:
            fields = json.loads(line)
            records.append({name: value if name == "epoch" else float(value) for name, value in fields.items()})
        except (ValueError, AttributeError, TypeError):
            raise UserError(f"{path}:{len(records) + 1}: not a line of a history: {line[:60]!r}") from None
    return records
