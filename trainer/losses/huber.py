"""Huber's loss: squared error for small errors, absolute error for large ones."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.config.loss_config import LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput


class HuberConfig(LossConfig):
    """MSE that outliers do not dominate: beyond ``delta`` an error counts by its size, not by its square."""

    name = "huber"

    delta: float = Field(1.0, ge=1e-4, le=1e4, description="error of a dimension at which squares end, in its own unit")

    def build(self, train: TrainTargets) -> LossModule:
        return HuberLoss(self.delta)


class HuberLoss(LossModule):
    """Mean over rows and dimensions of e²/2 where |e| ≤ δ, else δ (|e| − δ/2), with e = p − t (Huber, 1964).

    As ``torch.nn.HuberLoss``; ``SmoothL1Loss`` is this divided by δ. Range [0, ∞); with δ above all errors it is half
    the MSE.
    """

    def __init__(self, delta: float) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(F.huber_loss(predictions, targets, delta=self.delta), {})

    def prepared(self, targets: Tensor) -> Tensor:
        """As they are."""
        return targets

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float
    ) -> tuple[LossOutput, Tensor]:
        """The same with its gradient: errors cut at ±δ, over B d."""
        loss = F.huber_loss(predictions, targets, delta=self.delta)
        errors = (predictions - targets).clamp_(-self.delta, self.delta)
        return LossOutput(loss, {}), errors.mul_(share / errors.numel())
