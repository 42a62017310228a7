"""Mean squared error."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.config.loss_config import LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput


class MseConfig(LossConfig):
    """Mean squared error, the baseline: mean over rows and dimensions of (p − t)²."""

    name = "mse"

    def build(self, train: TrainTargets) -> LossModule:
        return MseLoss()


class MseLoss(LossModule):
    """mean((p − t)²). Range [0, ∞). On unit vectors it equals 2(1 − cos)/d."""

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(F.mse_loss(predictions, targets), {})
