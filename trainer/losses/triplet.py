"""Triplets: the own target nearer than another one, by a margin."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from losstune.trainer.config.loss_config import LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, RightTargets, Units, same_or_right, unit

Negatives = Literal["hardest", "semi_hard", "all"]


class TripletConfig(LossConfig):
    """A margin between the cosine to the own target and those to others of the batch."""

    name = "triplet"
    smallest_batch = 16
    recommended_batch = 32
    start_lr = 5e-4
    in_batch = True

    margin: float = Field(0.2, ge=0.001, le=2, description="by which the own target's cosine has to be the higher one")
    negatives: Negatives = Field("all", description="hardest, semi_hard or all: which of the batch's others count")

    def build(self, train: TrainTargets) -> LossModule:
        return TripletLoss(self.margin, self.negatives)


class TripletLoss(LossModule):
    """Mean of max(0, c_ij − c_ii + margin) over triplets, with c_ij = unit(p_i)·unit(t_j).

    j is a row whose target is not right for row i. ``hardest`` takes for each row the j of the highest c_ij
    (Faghri et al., 2018, VSE++); ``semi_hard`` the highest that is below c_ii, or the lowest of all where none is
    (Schroff et al., 2015, FaceNet); both average over rows that have a negative. ``all`` averages over all triplets
    that cost anything (Hermans et al., 2017, batch all).

    Logs ``active_triplets``, the share of the triplets taken that cost anything. Range [0, 2 + margin]; random
    directions of many dimensions cost about the margin.
    """

    def __init__(self, margin: float, negatives: Negatives) -> None:
        super().__init__()
        self.margin = margin
        self.negatives = negatives

    def forward(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, right: RightTargets | None = None
    ) -> LossOutput:
        cosines = unit(predictions) @ unit(targets).T  # (B, B)
        beyond = cosines - cosines.diagonal()[:, None] + self.margin
        taken = self._taken(cosines.detach(), ~same_or_right(ids, right))
        active = taken & (beyond.detach() > 0)
        loss = torch.where(active, beyond, 0.0).sum() / self._divisor(taken, active)
        return LossOutput(loss, {"active_triplets": _share(active, taken)})

    def prepared(self, targets: Tensor) -> Tensor:
        """At length one."""
        return unit(targets)

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float, right: RightTargets | None = None
    ) -> tuple[LossOutput, Tensor]:
        """The same with its gradient: in a triplet that costs anything, one for the other's cosine, −1 for the own."""
        p = Units(predictions)
        cosines = p.rows @ targets.T
        beyond = cosines - cosines.diagonal()[:, None] + self.margin
        taken = self._taken(cosines, ~same_or_right(ids, right))
        active = taken & (beyond > 0)
        divisor = self._divisor(taken, active)
        loss = torch.where(active, beyond, 0.0).sum() / divisor
        to_cosines = active.to(cosines.dtype)
        to_cosines.diagonal().copy_(-to_cosines.sum(dim=1))
        to_cosines *= share / divisor
        return LossOutput(loss, {"active_triplets": _share(active, taken)}), p.gradient(to_cosines @ targets)

    def _taken(self, cosines: Tensor, others: Tensor) -> Tensor:
        """(B, B) bool: the negatives that count, one a row but for ``all``; none in a row that has none."""
        if self.negatives == "all":
            return others
        if self.negatives == "hardest":
            return others & _one_each(cosines.masked_fill(~others, -torch.inf))
        below = others & (cosines < cosines.diagonal()[:, None])
        highest_below = _one_each(cosines.masked_fill(~below, -torch.inf))
        lowest = _one_each((-cosines).masked_fill(~others, -torch.inf))
        return others & torch.where(below.any(dim=1, keepdim=True), highest_below, lowest)

    def _divisor(self, taken: Tensor, active: Tensor) -> Tensor:
        return (active if self.negatives == "all" else taken).sum().clamp_min(1)


def _one_each(values: Tensor) -> Tensor:
    """(B, B) bool: the first highest of each row."""
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, values.argmax(dim=1, keepdim=True), True)


def _share(active: Tensor, taken: Tensor) -> Tensor:
    return active.sum() / taken.sum().clamp_min(1)
