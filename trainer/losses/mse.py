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

    def prepared(self, targets: Tensor) -> Tensor:
        """As they are."""
        return targets

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float
    ) -> tuple[LossOutput, Tensor]:
        """The same with its gradient, 2 (p − t) / (B d)."""
        errors = predictions - targets
        loss = errors.square().mean()
        return LossOutput(loss, {}), errors.mul_(2 * share / errors.numel())
