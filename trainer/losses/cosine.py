"""Cosine distance, the default loss."""

from torch import Tensor

from losstune.trainer.config.loss_config import LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, cosine_distance, cosine_with_gradient, unit


class CosineConfig(LossConfig):
    """1 − cosine similarity, the default: aligns direction and ignores scale."""

    name = "cosine"

    def build(self, train: TrainTargets) -> LossModule:
        return CosineLoss()


class CosineLoss(LossModule):
    """mean(1 − unit(p)·unit(t)). Range [0, 2]; 0 is perfect alignment."""

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(cosine_distance(predictions, targets), {})

    def prepared(self, targets: Tensor) -> Tensor:
        """At length one."""
        return unit(targets)

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float
    ) -> tuple[LossOutput, Tensor]:
        """The same with its gradient."""
        distance, gradient = cosine_with_gradient(predictions, targets, share)
        return LossOutput(distance, {}), gradient
