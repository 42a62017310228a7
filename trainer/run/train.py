"""One run from config to saved model: start or continue, train, save, stop when asked."""

import time
from dataclasses import dataclass

import torch
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest, stop_on_signal
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.history import Record
from losstune.trainer.run.layout import LAST_FILE
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.schedule import schedule_notes
from losstune.trainer.run.show import EpochDisplay

SAVE_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Finished:
    """How a run stands when it stops: its trainer, the record of its best epoch, and a signal if one came."""

    trainer: Trainer
    best: Record | None
    interrupted: StopRequest


def set_threads(config: TrainConfig) -> TrainConfig:
    """Apply ``threads`` to torch; returns the config with the number that is in force."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return config.model_copy(update={"threads": torch.get_num_threads()})


def train_run(
    config: TrainConfig,
    pairs: Pairs,
    folder: RunDirectory,
    console: Console,
    *,
    resume: bool,
    debug_nan: bool = False,
    own_process: bool = True,
) -> Finished:
    """Train to the end of the config, or to the first SIGINT or SIGTERM; saves at least every two seconds.

    Args:
        debug_nan: as of :class:`~losstune.trainer.run.loop.Trainer`.
        own_process: as of :func:`~losstune.trainer.base.signals.stop_on_signal`.

    Raises:
        UserError: data too small, a folder that can not be written, a checkpoint of other data.
    """
    config = set_threads(config)
    data = resident_data(pairs, config, pick_device(config.device))
    trainer = Trainer(config, data, debug_nan=debug_nan)
    history = _continue(folder, trainer, console) if resume else []
    if not resume:
        folder.start(config)
    _say_notes(trainer, console)
    best = next((record for record in history if record["epoch"] == trainer.best_epoch), None)
    chance = data.val.chance if data.val else None
    unsaved: list[Record] = []
    saved_at = time.monotonic()
    with stop_on_signal(own_process=own_process) as stop, EpochDisplay(config, chance, console) as display:
        while trainer.end is None and not stop:
            record = trainer.run_epoch()
            unsaved.append(record)
            if trainer.best_epoch == trainer.epoch:
                best = record
            display.show(record)
            if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
                folder.save(trainer, unsaved)
                unsaved, saved_at = [], time.monotonic()
        if unsaved:
            folder.save(trainer, unsaved)
    return Finished(trainer, best, stop)


def _say_notes(trainer: Trainer, console: Console) -> None:
    """What to know of its schedule, while it has one before it, and of how it is validated."""
    for note in schedule_notes(trainer.config, trainer.steps_per_epoch) if trainer.end is None else ():
        say(console, f"Note: {note}")
    val = trainer.data.val
    if val is not None and len(val) == trainer.config.eval_queries:
        say(console, f"Validation: a sample of {len(val):,} rows, each against all {len(val.gallery):,} targets")


def _continue(folder: RunDirectory, trainer: Trainer, console: Console) -> list[Record]:
    digest = str(load_checkpoint(folder.path / LAST_FILE).get("data_digest"))
    if digest != trainer.data.digest:
        raise UserError(
            f"--resume: {trainer.data.source} is not the data of the checkpoint "
            f"(SHA-256 {trainer.data.digest[:12]}, checkpoint {digest[:12]})"
        )
    restored = folder.restore(trainer)
    for damage in restored.damage:
        say(console, damage)
    say(console, f"Resuming after epoch {trainer.epoch}")
    return restored.records
