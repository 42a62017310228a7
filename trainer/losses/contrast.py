"""What rows of scores cost, each set against its diagonal: the softmax of InfoNCE, and its variants.

Scores (B, M), M ≥ B: row i's own one stands on the diagonal; one that is no negative of row i is −inf.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses


class Cost(NamedTuple):
    """The mean over rows (), and B times its gradient in the scores (B, M)."""

    loss: Tensor
    gradient: Tensor


class Contrast(Protocol):
    """One way to set rows of scores against their diagonal.

    Attributes:
        needs_likeness: whether it asks for the cosines of the targets.
    """

    needs_likeness: ClassVar[bool]

    def __call__(self, scores: Tensor, likeness: Tensor | None) -> Tensor:
        """The mean over rows (), for autograd.

        Args:
            scores: (B, M) float, −inf where there is no negative.
            likeness: (B, M) cosines of the own targets to those scored, for a way that needs them.
        """
        ...

    def with_gradient(self, scores: Tensor, likeness: Tensor | None) -> Cost:
        """The same without autograd."""
        ...


@dataclass(frozen=True)
class Softmax:
    """−mean_i log softmax(s_i)_i (van den Oord et al., 2018, eq. 4)."""

    needs_likeness: ClassVar[bool] = False

    def __call__(self, scores: Tensor, likeness: Tensor | None) -> Tensor:
        return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))

    def with_gradient(self, scores: Tensor, likeness: Tensor | None) -> Cost:
        logs = torch.log_softmax(scores, dim=1)
        loss = logs.diagonal().mean().neg_()
        gradient = logs.exp_()
        gradient.diagonal().sub_(1)
        return Cost(loss, gradient)


@dataclass(frozen=True)
class WeightedNegatives:
    """mean_i log( [exp(s_ii)] + n_i Σ_j w_ij exp(s_ij) ) − s_ii over the n_i negatives j of a row.

    w_ij = exp(β s_ij) / Σ_k exp(β s_ik): near negatives weigh more, at β = 0 all alike (Robinson et al., 2021, τ⁺ = 0).
    ``decoupled`` leaves out what stands in brackets (Yeh et al., 2022, DCL). A row without a negative costs nothing.
    """

    needs_likeness: ClassVar[bool] = False

    hardness: float
    decoupled: bool

    def __call__(self, scores: Tensor, likeness: Tensor | None) -> Tensor:
        own, negatives, any_there = _apart(scores)
        against = self._against(negatives)
        costs = against - own if self.decoupled else torch.logaddexp(own, against) - own
        return torch.where(any_there, costs, 0.0).mean()

    def with_gradient(self, scores: Tensor, likeness: Tensor | None) -> Cost:
        own, negatives, any_there = _apart(scores)
        beyond = self._against(negatives) - own
        costs = beyond if self.decoupled else F.softplus(beyond)
        weights = torch.ones_like(beyond) if self.decoupled else beyond.sigmoid()
        gradient = (1 + self.hardness) * torch.softmax((1 + self.hardness) * negatives, dim=1)
        if self.hardness:
            gradient -= self.hardness * torch.softmax(self.hardness * negatives, dim=1)
        gradient *= weights[:, None]
        gradient.diagonal().copy_(-weights)
        gradient.masked_fill_(~any_there[:, None], 0.0)
        return Cost(torch.where(any_there, costs, 0.0).mean(), gradient)

    def _against(self, negatives: Tensor) -> Tensor:
        """log n_i Σ_j w_ij exp(s_ij) (B,)."""
        total = torch.logsumexp((1 + self.hardness) * negatives, dim=1)
        if not self.hardness:
            return total
        count = torch.isfinite(negatives).sum(dim=1).clamp_min(1).to(total.dtype)
        return count.log() + total - torch.logsumexp(self.hardness * negatives, dim=1)


@dataclass(frozen=True)
class SoftTargets:
    """mean_i KL(q_i ‖ softmax(s_i)), q_i the softmax of the own target's cosines to the batch's, over ``temperature``.

    Targets that are like the own one take a share of its one (distilled similarities: Tejankar et al., 2021, ISD).
    """

    needs_likeness: ClassVar[bool] = True

    temperature: float

    def __call__(self, scores: Tensor, likeness: Tensor | None) -> Tensor:
        wanted = self._wanted(scores, likeness)
        found = torch.log_softmax(scores, dim=1).masked_fill(torch.isneginf(scores), 0.0)
        return (torch.xlogy(wanted, wanted) - wanted * found).sum(dim=1).mean()

    def with_gradient(self, scores: Tensor, likeness: Tensor | None) -> Cost:
        return Cost(self(scores, likeness), torch.softmax(scores, dim=1) - self._wanted(scores, likeness))

    def _wanted(self, scores: Tensor, likeness: Tensor | None) -> Tensor:
        assert likeness is not None
        aims = (likeness / self.temperature).masked_fill(torch.isneginf(scores.detach()), -math.inf)
        return torch.softmax(aims, dim=1)


def _apart(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Own scores (B,), those of the negatives (B, M) with −inf elsewhere, and whether (B,) a row has one.

    A row that has none gets zeros, whose gradient is a number; what it gives is thrown away.
    """
    diagonal = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    negatives = scores.masked_fill(diagonal, -math.inf)
    any_there = ~torch.isneginf(negatives).all(dim=1)
    return scores.diagonal(), negatives.masked_fill(~any_there[:, None], 0.0), any_there
