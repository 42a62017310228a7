"""InfoNCE with a cosine part: the right order among targets, and nearness to one's own."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from losstune.trainer.config.loss_config import TrainTargets
from losstune.trainer.losses.base import (
    LossModule,
    LossOutput,
    OwnNegatives,
    RightTargets,
    cosine_distance,
    cosine_with_gradient,
    unit,
)
from losstune.trainer.losses.infonce import InfoNceConfig, InfoNceLoss


class InfoNceCosineConfig(InfoNceConfig):
    """InfoNCE + λ · (1 − cosine): retrieval and similarity together."""

    name = "infonce_cosine"

    similarity_weight: float = Field(1.0, ge=0, le=100, description="weight λ of the cosine part beside InfoNCE")

    def build(self, train: TrainTargets) -> LossModule:
        return InfoNceCosineLoss(self.contrast(train), self.similarity_weight)

    def part_texts(self, parts: Mapping[str, float], batch_size: int) -> list[str]:
        own = {"infonce": "InfoNCE", "weighted_cosine": f"Cosine x {self.similarity_weight:g}"}
        others = {name: value for name, value in parts.items() if name not in own}
        texts = [f"{text}: {parts[name]:.4f}" for name, text in own.items() if name in parts]
        return super().part_texts(others, batch_size) + texts


class InfoNceCosineLoss(LossModule):
    """InfoNCE + λ · mean(1 − unit(p)·unit(t)).

    Logs both as they enter the sum, ``infonce`` and ``weighted_cosine``, with what InfoNCE itself logs.
    Range [0, ∞), about log B + λ at random.
    """

    def __init__(self, contrast: InfoNceLoss, similarity_weight: float) -> None:
        super().__init__()
        self.contrast = contrast
        self.similarity_weight = similarity_weight

    def forward(
        self,
        predictions: Tensor,
        targets: Tensor,
        ids: Tensor,
        right: RightTargets | None = None,
        negatives: OwnNegatives | None = None,
    ) -> LossOutput:
        contrast: LossOutput = self.contrast(predictions, targets, ids, right, negatives)
        cosine = self.similarity_weight * cosine_distance(predictions, targets)
        parts = {**contrast.parts, "infonce": contrast.loss.detach(), "weighted_cosine": cosine.detach()}
        return LossOutput(contrast.loss + cosine, parts)

    def prepared(self, targets: Tensor) -> Tensor:
        """At length one."""
        return unit(targets)

    def with_gradient(
        self,
        predictions: Tensor,
        targets: Tensor,
        ids: Tensor,
        share: float,
        right: RightTargets | None = None,
        negatives: OwnNegatives | None = None,
    ) -> tuple[LossOutput, Tensor]:
        """The same with the gradients of both parts."""
        contrast, gradient = self.contrast.with_gradient(predictions, targets, ids, share, right, negatives)
        cosine, other = cosine_with_gradient(predictions, targets, self.similarity_weight * share)
        cosine = self.similarity_weight * cosine
        parts = {**contrast.parts, "infonce": contrast.loss, "weighted_cosine": cosine}
        return LossOutput(contrast.loss + cosine, parts), gradient.add_(other)
