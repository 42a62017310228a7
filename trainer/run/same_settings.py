"""Whether a saved state is of the run that is to go on from it, by its settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.users_modules import OWN
from losstune.trainer.config.factory import load_factory
from losstune.trainer.config.model_config import FactoryConfig
from losstune.trainer.config.train_config import TrainConfig, default_settings
from losstune.trainer.run.resumed import CHANGEABLE, MOVED


def check_settings(saved: Mapping[str, Any], config: TrainConfig, path: Path) -> None:
    """Compare a run's settings with those that a checkpoint says it was trained with.

    What a resumed run may change may differ. A setting that is younger than the checkpoint stood at its default. One at
    a default of the user's own loss or model may differ too: a launch says that their file has changed, and goes on.

    Args:
        saved: the checkpoint's, flat.

    Raises:
        UserError: they are another run's; says in what.
    """
    differing = list(_differing(saved, config))
    if differing:
        raise UserError(f"checkpoint {path}: of a run with other settings: {', '.join(differing)}")


def _differing(saved: Mapping[str, Any], config: TrainConfig) -> Iterator[str]:
    factory = load_factory(config.model.factory) if isinstance(config.model, FactoryConfig) else None
    loss_class = type(config.loss)
    defaults = default_settings(loss_class, factory)
    before, now = {**defaults, **saved}, config.flat()
    of_losstune = loss_class.__module__.startswith(f"{OWN}.")
    authors = set() if of_losstune else {*loss_class.model_fields, "lr", "batch_size"}
    authors |= {name for name in now if factory and name.startswith("model.")}
    free = {*CHANGEABLE, MOVED, *(name for name in authors if now[name] == defaults.get(name))}
    for name, value in now.items():
        if name not in free and before.get(name) != value:
            yield f"{name} {before.get(name)} in it, {value} here"
