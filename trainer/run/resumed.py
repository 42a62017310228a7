"""Which settings a run goes on with when it is resumed: its own, but for the few that may change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.loss_registry import loss_config_class
from losstune.trainer.config.matryoshka import one_value
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.layout import LAST_FILE
from losstune.trainer.run.schedule import idle_epochs, last_epoch

CHANGEABLE = ("num_epochs", "patience", "eval_batch", "device", "threads", "data", "columns")
"""Settings that a resumed run may change; whether the data is the same is seen by its content."""
MOVED = "schedule_epochs"
"""Changes too where the command itself says it, as the epochs to come are others then; a file has to agree with it."""


def saved_config(state: Path) -> TrainConfig:
    """The config of a saved run.

    Raises:
        UserError: the file can not be read, or holds no training state.
    """
    content = load_checkpoint(state)
    if "state" not in content or not isinstance(content.get("config"), dict):
        raise UserError(f"--checkpoint {state}: holds no training state to resume from; use {LAST_FILE} of the run")
    return TrainConfig.from_flat(content["config"], where=str(state))


def resumed_config(before: TrainConfig, file: Mapping[str, Any], command: Mapping[str, Any]) -> TrainConfig:
    """The config that a run goes on with.

    Args:
        before: the config that it was saved with.
        file: settings of a file that is given with the command.
        command: settings of the command itself, which come first.

    Raises:
        UserError: they name another loss or other settings than the run's, or only epochs that would change nothing.
    """
    kept = before.flat() | {MOVED: before.horizon}  # a schedule ends where it did, however many epochs there are now
    asked = {name: one_value(name, value) for name, value in {**file, **command}.items()}
    loss = asked.pop("loss_fn", kept["loss_fn"])
    if loss_config_class(loss) is not type(before.loss):
        raise UserError(f"--resume: the checkpoint was trained with loss_fn {kept['loss_fn']}, not {loss}")
    if asked.get(MOVED) is None:  # "num_epochs", in every file of a run that was not resumed yet: no other end is asked
        asked.pop(MOVED, None)
    changeable = {*CHANGEABLE, *({MOVED} & command.keys())}
    differs = [
        f"{name} is {kept.get(name)} in the checkpoint, {value} was asked for"
        for name, value in asked.items()
        if name not in changeable and value != kept.get(name)
    ]
    if differs:
        raise UserError("--resume continues a run with its own settings:\n" + "\n".join(differs))
    config = TrainConfig.from_flat(kept | {name: value for name, value in asked.items() if name in changeable})
    _refuse_idle(before, config)
    return config


def _refuse_idle(before: TrainConfig, config: TrainConfig) -> None:
    """More epochs are no wish for a learning rate of 0; a run that had such epochs before trains them as it would."""
    idle, epochs = idle_epochs(config), config.num_epochs
    if idle and epochs > before.num_epochs:
        raise UserError(
            f"--resume: {idle}, which changes nothing; "
            f"--schedule_epochs {epochs} moves its end, --num_epochs {last_epoch(config)} goes no further"
        )
