"""InfoNCE: each prediction against the targets of its batch."""

from collections.abc import Mapping
from functools import lru_cache

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.config.loss_config import TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, RightTargets, Units, same_or_right, unit
from losstune.trainer.losses.temperature import Temperature, TemperatureConfig


class InfoNceConfig(TemperatureConfig):
    """In-batch contrastive cross-entropy over cosine / temperature; strongest for retrieval."""

    name = "infonce"
    smallest_batch = 16
    recommended_batch = 32
    start_lr = 5e-4
    in_batch = True

    symmetric: bool = Field(False, description="also classify targets against predictions, and average")

    def build(self, train: TrainTargets) -> LossModule:
        return InfoNceLoss(
            self.temperature, self.symmetric, learn_temperature=self.learn_temperature, distinct=train.distinct
        )

    def part_texts(self, parts: Mapping[str, float], batch_size: int) -> list[str]:
        others = {name: value for name, value in parts.items() if name != "infonce_acc"}
        accuracy = [in_batch_accuracy_text(parts["infonce_acc"], batch_size)] if "infonce_acc" in parts else []
        return accuracy + super().part_texts(others, batch_size)


def in_batch_accuracy_text(accuracy: float, batch_size: int) -> str:
    """``InfoNCE Acc: 28.12% (chance 3.12%)``."""
    return f"InfoNCE Acc: {accuracy:.2%} (chance {1 / batch_size:.2%})"


class InfoNceLoss(LossModule):
    """Cross-entropy of each prediction against the batch's targets (van den Oord et al., 2018, eq. 4).

    −mean_i log( exp(s_ii) / Σ_{j ∈ {i} ∪ N(i)} exp(s_ij) ), with s_ij = unit(p_i)·unit(t_j) / temperature
    and N(i) the rows whose target is not right for row i: rows that share a target are no negatives, nor are several
    right targets of an input.
    ``symmetric`` adds the same over columns and halves the sum (Radford et al., 2021, fig. 3).

    Logs ``infonce_acc``, the share of rows whose best-scored target is their own, by identity; at random
    about 1/B. Range of the loss: [0, ∞), about log B at random.
    """

    def __init__(
        self, temperature: float, symmetric: bool, *, learn_temperature: bool = False, distinct: bool = False
    ) -> None:
        """A new temperature.

        Args:
            distinct: no two rows of the training split share a target.
        """
        super().__init__()
        self.distinct = distinct
        self.temperature = Temperature(temperature, learnt=learn_temperature)
        self.symmetric = symmetric

    def forward(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, right: RightTargets | None = None
    ) -> LossOutput:
        scores = self.temperature(unit(predictions) @ unit(targets).T)  # (B, B)
        labels = torch.arange(len(ids), device=ids.device)
        scores = scores.masked_fill(_twins(ids, right), float("-inf"))
        loss = F.cross_entropy(scores, labels)
        if self.symmetric:
            loss = (loss + F.cross_entropy(scores.T, labels)) / 2
        accuracy = (scores.detach().argmax(dim=1) == labels).float().mean()
        return LossOutput(loss, {"infonce_acc": accuracy, **self.temperature.parts()})

    def prepared(self, targets: Tensor) -> Tensor:
        """At length one."""
        return unit(targets)

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float, right: RightTargets | None = None
    ) -> tuple[LossOutput, Tensor]:
        """The same with the gradient: softmax − 1 on the diagonal, carried back through cosines and unit rows."""
        p = Units(predictions)
        cosines = p.rows @ targets.T  # (B, B)
        scores = self.temperature(cosines)
        if right is not None or not self.distinct:
            scores.masked_fill_(_twins(ids, right), float("-inf"))
        accuracy = torch.eq(scores.argmax(dim=1), _labels(len(ids), ids.device)).mean(dtype=torch.float32)
        loss, to_scores = _cross_entropy(scores, 1)
        share /= len(ids)
        if self.symmetric:
            other, to_columns = _cross_entropy(scores, 0)
            loss, to_scores, share = loss.add_(other).div_(2), to_scores.add_(to_columns), share / 2
        to_cosines = self.temperature.gradient(to_scores, cosines, share)
        parts = {"infonce_acc": accuracy, **self.temperature.parts()}
        return LossOutput(loss, parts), p.gradient(to_cosines @ targets)


def _twins(ids: Tensor, right: RightTargets | None) -> Tensor:
    """(B, B) bool: pairs of different rows of which the second's target is right for the first."""
    return same_or_right(ids, right).fill_diagonal_(False)


def _cross_entropy(scores: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy () of a softmax over ``dim`` where the diagonal is right, and B times its gradient (B, B)."""
    logs = torch.log_softmax(scores, dim=dim)
    loss = logs.diagonal().mean().neg_()
    gradient = logs.exp_()
    gradient.diagonal().sub_(1)
    return loss, gradient


@lru_cache(maxsize=8)
def _labels(rows: int, device: torch.device) -> Tensor:
    return torch.arange(rows, device=device)
