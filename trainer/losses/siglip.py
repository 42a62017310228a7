"""SigLIP: every pair of a batch as a yes-or-no question of its own."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.config.loss_config import LossConfig, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, RightTargets, Units, add_gradient, same_or_right, unit


class SigLipConfig(LossConfig):
    """Pairwise sigmoid loss with a scale and a bias that are learnt; negatives do not compete in a softmax."""

    name = "siglip"
    smallest_batch = 16
    recommended_batch = 32
    start_lr = 5e-4
    in_batch = True

    initial_scale: float = Field(10.0, ge=0.1, le=1000, description="scale of the cosines to start from; it is learnt")
    initial_bias: float = Field(-10.0, ge=-100, le=100, description="bias of the scores to start from; it is learnt")

    def build(self, train: TrainTargets) -> LossModule:
        return SigLipLoss(self.initial_scale, self.initial_bias)


class SigLipLoss(LossModule):
    """Sigmoid cross-entropy of all pairs of a batch (Zhai et al., 2023, eq. 1 and algorithm 1).

    −1/B Σ_i Σ_j log σ(z_ij (s · unit(p_i)·unit(t_j) + b)), z_ij = 1 where j = i, −1 where row j's target is another one
    than row i's. Pairs of different rows that share a target are neither, and left out; so are an input's other right
    targets. s = exp(s') and b are learnt.

    Logs ``scale`` and ``bias``. Range [0, ∞). At the start cosines hardly count beside b: with b = −10 each row pays
    about 10 for its own target.
    """

    def __init__(self, initial_scale: float, initial_bias: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))
        self.bias = nn.Parameter(torch.tensor(initial_bias))

    def forward(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, right: RightTargets | None = None
    ) -> LossOutput:
        scale = self.log_scale.exp()
        scores = scale * (unit(predictions) @ unit(targets).T) + self.bias  # (B, B)
        own = -F.logsigmoid(scores.diagonal()).sum()
        rest = -F.logsigmoid(-scores).masked_fill(same_or_right(ids, right), 0.0).sum()
        return LossOutput((own + rest) / len(ids), {"scale": scale.detach(), "bias": self.bias.detach().clone()})

    def prepared(self, targets: Tensor) -> Tensor:
        """At length one."""
        return unit(targets)

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float, right: RightTargets | None = None
    ) -> tuple[LossOutput, Tensor]:
        """The same with its gradient: σ of the scores of other targets, σ − 1 on the diagonal."""
        p, scale = Units(predictions), self.log_scale.detach().exp()
        cosines = p.rows @ targets.T  # (B, B)
        scores = scale * cosines + self.bias.detach()
        same = same_or_right(ids, right)
        own = -F.logsigmoid(scores.diagonal()).sum()
        rest = -F.logsigmoid(-scores).masked_fill_(same, 0.0).sum()
        to_scores = scores.sigmoid().masked_fill_(same, 0.0)
        to_scores.diagonal().copy_(scores.diagonal().sigmoid() - 1)
        to_scores.mul_(share / len(ids))
        add_gradient(self.bias, to_scores.sum().to(self.bias.dtype))
        to_cosines = to_scores.mul_(scale)
        add_gradient(self.log_scale, (to_cosines * cosines).sum().to(self.log_scale.dtype))
        parts = {"scale": scale, "bias": self.bias.detach().clone()}
        return LossOutput((own + rest) / len(ids), parts), p.gradient(to_cosines @ targets)
