"""The learning rate of every step: a linear warm-up, then constant or a cosine to 0; and where that trains nothing."""

import math

from losstune.trainer.config.train_config import TrainConfig


def lr_at(config: TrainConfig, position: float) -> float:
    """Learning rate of a step that ends at ``position`` epochs."""
    if position < config.warmup_epochs:
        return config.lr * position / config.warmup_epochs
    if config.schedule == "constant":
        return config.lr
    done = (position - config.warmup_epochs) / max(1, config.horizon - config.warmup_epochs)
    return config.lr * (1 + math.cos(math.pi * min(1.0, done))) / 2


def last_epoch(config: TrainConfig) -> int | None:
    """The epoch with whose last step the rate is 0 for good; None where it never is."""
    return None if config.schedule == "constant" else max(config.horizon, config.warmup_epochs + 1)


def idle_epochs(config: TrainConfig) -> str | None:
    """``the cosine schedule ends with epoch 2: epochs 3 to 5 have a learning rate of 0``; None where none has."""
    last, epochs = last_epoch(config), config.num_epochs
    if last is None or epochs <= last:
        return None
    idle = f"epoch {epochs} has" if epochs == last + 1 else f"epochs {last + 1} to {epochs} have"
    return f"the cosine schedule ends with epoch {last}: {idle} a learning rate of 0"


def schedule_notes(config: TrainConfig, steps: int) -> list[str]:
    """What of a schedule can hardly be meant, a line each.

    It is no error: a run, or a trial of a study, that was trained so is repeated so.

    Args:
        steps: steps of the optimizer in an epoch.
    """
    epochs, warmup, peak = config.num_epochs, config.warmup_epochs, f"{config.lr:g}"
    if warmup > epochs:
        reached = f"lr rises to {lr_at(config, epochs):g}, not to {peak}"
        return [f"a warm-up of {warmup} epochs in a run of {epochs}: {reached}; --warmup_epochs may be smaller"]
    if warmup == epochs:
        return [
            f"the warm-up takes all {epochs} epochs of the run: only its last step has an lr of {peak}; "
            "--warmup_epochs may be smaller"
        ]
    if steps == 1 and last_epoch(config) == 1:
        return [
            "the cosine schedule is a single step, which has a learning rate of 0: nothing is trained; "
            "--schedule constant, or more epochs"
        ]
    notes = []
    if config.schedule == "cosine" and warmup >= config.horizon:
        notes.append(
            f"the warm-up ends with epoch {warmup}, the cosine schedule with epoch {config.horizon}: lr falls from "
            f"{peak} to 0 within epoch {warmup + 1}; --warmup_epochs may be smaller, or --schedule_epochs larger"
        )
    if idle := idle_epochs(config):
        notes.append(f"{idle}; --schedule_epochs {epochs} moves its end")
    return notes
