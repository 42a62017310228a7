"""The losses, and how to bring one's own.

A loss is one file with two classes: a config (its parameters with limits, its batch rules) and the module it builds.
Both, and nothing else, are what a new loss has to bring. The eight that come with the product are written and
registered as anyone else's are.
"""

from losstune.trainer.losses.base import (
    Gallery,
    LossConfig,
    LossModule,
    LossOutput,
    TrainTargets,
    centered,
    cosine_distance,
    unit,
)
from losstune.trainer.losses.registry import is_loss_name, loss_config_class, loss_names, loss_reference

__all__ = [
    "Gallery",
    "LossConfig",
    "LossModule",
    "LossOutput",
    "TrainTargets",
    "centered",
    "cosine_distance",
    "is_loss_name",
    "loss_config_class",
    "loss_names",
    "loss_reference",
    "unit",
]
