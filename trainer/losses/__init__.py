"""The losses, and what one's own is made of.

A loss is one file with two classes: a config (its parameters with limits, its batch rules) and the module it builds.
Both, and nothing else, are what a new loss has to bring. The nine that come with the product are written and
registered as anyone else's are.
"""

from losstune.trainer.config.loss_config import Gallery, LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, centered, cosine_distance, unit

__all__ = [
    "Gallery",
    "LossConfig",
    "LossModule",
    "LossOutput",
    "TrainTargets",
    "centered",
    "cosine_distance",
    "unit",
]
