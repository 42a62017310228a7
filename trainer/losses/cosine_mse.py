"""Cosine distance and mean squared error, weighted."""

from collections.abc import Mapping

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.config.loss_config import LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, cosine_distance, cosine_with_gradient, unit


class CosineMseConfig(LossConfig):
    """α · cosine + β · MSE. Direction 0.8/0.2, balanced 0.7/0.3, distance 0.5/0.5."""

    name = "cosine_mse"

    cosine_weight: float = Field(0.7, ge=0, le=100, description="weight of the cosine part")
    mse_weight: float = Field(0.3, ge=0, le=100, description="weight of the MSE part")

    @model_validator(mode="after")
    def _some_weight(self) -> "CosineMseConfig":
        if self.cosine_weight == 0 and self.mse_weight == 0:
            raise ValueError("cosine_weight and mse_weight are both 0: nothing would be trained")
        return self

    def build(self, train: TrainTargets) -> LossModule:
        return CosineMseLoss(self.cosine_weight, self.mse_weight)

    def part_texts(self, parts: Mapping[str, float], batch_size: int) -> list[str]:
        shown = {"weighted_cosine": f"Cosine x {self.cosine_weight:g}", "weighted_mse": f"MSE x {self.mse_weight:g}"}
        return [f"{text}: {parts[name]:.4f}" for name, text in shown.items() if name in parts]


class CosineMseLoss(LossModule):
    """α · mean(1 − unit(p)·unit(t)) + β · mean((p − t)²). Logs both parts as they enter the sum."""

    def __init__(self, cosine_weight: float, mse_weight: float) -> None:
        super().__init__()
        self.cosine_weight = cosine_weight
        self.mse_weight = mse_weight

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        cosine = self.cosine_weight * cosine_distance(predictions, targets)
        mse = self.mse_weight * F.mse_loss(predictions, targets)
        return LossOutput(cosine + mse, {"weighted_cosine": cosine.detach(), "weighted_mse": mse.detach()})

    def prepared(self, targets: Tensor) -> Tensor:
        """As they are."""
        return targets

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float
    ) -> tuple[LossOutput, Tensor]:
        """The same with the gradients of both parts."""
        cosine, gradient = cosine_with_gradient(predictions, unit(targets), self.cosine_weight * share)
        errors = predictions - targets
        cosine, mse = self.cosine_weight * cosine, self.mse_weight * errors.square().mean()
        gradient.add_(errors, alpha=2 * self.mse_weight * share / errors.numel())
        return LossOutput(cosine + mse, {"weighted_cosine": cosine, "weighted_mse": mse}), gradient
