"""InfoNCE: each prediction against the targets of its batch."""

from collections.abc import Mapping
from functools import lru_cache

import torch
from pydantic import Field, model_validator
from torch import Tensor

from losstune.trainer.config.loss_config import Mining, TrainTargets
from losstune.trainer.losses.base import (
    LossModule,
    LossOutput,
    OwnNegatives,
    RightTargets,
    Units,
    same_or_right,
    unit,
)
from losstune.trainer.losses.contrast import Contrast, Softmax, SoftTargets, WeightedNegatives
from losstune.trainer.losses.temperature import Temperature, TemperatureConfig

SOFTMAX = Softmax()


class InfoNceConfig(TemperatureConfig):
    """In-batch contrastive cross-entropy over cosine / temperature; strongest for retrieval."""

    name = "infonce"
    smallest_batch = 16
    recommended_batch = 32
    start_lr = 5e-4
    in_batch = True

    symmetric: bool = Field(False, description="also classify targets against predictions, and average")

    decoupled: bool = Field(False, description="leave the own target out of what negatives are summed with")
    hardness: float = Field(0.0, ge=0, le=10, description="how much more near negatives weigh; 0 weighs all alike")
    guide_margin: float | None = Field(
        None, ge=0, le=1, description="targets with a cosine to the own one above 1 - margin are no negatives"
    )
    target_temperature: float | None = Field(
        None, ge=0.001, le=10, description="share the label by the targets' own cosines over this temperature"
    )
    hard_negatives: int = Field(
        0, ge=0, le=256, description="negatives of each row's own, the nearest of a sample of the training targets"
    )
    hard_negatives_every: int = Field(5, ge=1, le=1_000_000, description="epochs after which they are mined anew")
    hard_negatives_sample: int = Field(1024, ge=16, le=1_048_576, description="targets among which they are looked for")
    hard_negatives_skip: int = Field(
        8, ge=0, le=1024, description="nearest targets that are passed over: some may be right answers"
    )

    @model_validator(mode="after")
    def _one_way(self) -> "InfoNceConfig":
        if self.target_temperature is not None and (self.decoupled or self.hardness):
            other = "decoupled" if self.decoupled else "hardness"
            raise ValueError(f"target_temperature: not together with {other}, which counts one target as right")
        return self

    def build(self, train: TrainTargets) -> LossModule:
        return self.contrast(train)

    def contrast(self, train: TrainTargets) -> "InfoNceLoss":
        """The module of these settings."""
        return InfoNceLoss(
            self.temperature,
            self.symmetric,
            learn_temperature=self.learn_temperature,
            contrast=self._way(),
            guide_margin=self.guide_margin,
            distinct=train.distinct,
        )

    def mining(self) -> Mining | None:
        if not self.hard_negatives:
            return None
        return Mining(
            self.hard_negatives,
            self.hard_negatives_every,
            self.hard_negatives_sample,
            self.hard_negatives_skip,
            self.guide_margin,
        )

    def _way(self) -> Contrast:
        if self.target_temperature is not None:
            return SoftTargets(self.target_temperature)
        if self.decoupled or self.hardness:
            return WeightedNegatives(self.hardness, self.decoupled)
        return SOFTMAX

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
    right targets of an input. ``symmetric`` adds the same over columns and halves the sum (Radford et al., 2021, fig.
    3). With ``guide_margin`` neither are rows whose targets are nearer than it, the targets being their own guide
    (Solatorio, 2024, GISTEmbed). Negatives h of a row's own join its sum, as exp(s_ih) (Karpukhin et al., 2020, DPR;
    mined: Xiong et al., 2021, ANCE).

    Logs ``infonce_acc``, the share of rows whose best-scored target is their own, by identity; at random
    about 1/B. Range of the loss: [0, ∞), about log B at random.
    """

    def __init__(
        self,
        temperature: float,
        symmetric: bool,
        *,
        learn_temperature: bool = False,
        contrast: Contrast = SOFTMAX,
        guide_margin: float | None = None,
        distinct: bool = False,
    ) -> None:
        """A new temperature.

        Args:
            distinct: no two rows of the training split share a target.
        """
        super().__init__()
        self.temperature = Temperature(temperature, learnt=learn_temperature)
        self.contrast = contrast
        self.symmetric = symmetric
        self.guide_margin = guide_margin
        self.distinct = distinct

    def forward(
        self,
        predictions: Tensor,
        targets: Tensor,
        ids: Tensor,
        right: RightTargets | None = None,
        negatives: OwnNegatives | None = None,
    ) -> LossOutput:
        units, rows = unit(targets), len(ids)
        own = None if negatives is None else negatives._replace(targets=unit(negatives.targets))
        likeness = self._likeness(units, own)
        scores = self.temperature(_cosines(unit(predictions), units, own))  # (B, B + k)
        scores = scores.masked_fill(self._no_negatives(ids, right, own, likeness), float("-inf"))
        loss = self.contrast(scores, likeness)
        if self.symmetric:
            loss = (loss + self.contrast(scores[:, :rows].T, _of_batch(likeness, rows))) / 2
        accuracy = (scores[:, :rows].detach().argmax(dim=1) == _labels(rows, ids.device)).float().mean()
        return LossOutput(loss, {"infonce_acc": accuracy, **self.temperature.parts()})

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
        """The same with the gradient, carried back from the scores through cosines and unit rows."""
        p, rows = Units(predictions), len(ids)
        cosines = _cosines(p.rows, targets, negatives)  # (B, B + k)
        scores, likeness = self.temperature(cosines), self._likeness(targets, negatives)
        if right is not None or negatives is not None or not self.distinct or self.guide_margin is not None:
            scores.masked_fill_(self._no_negatives(ids, right, negatives, likeness), float("-inf"))
        accuracy = torch.eq(scores[:, :rows].argmax(dim=1), _labels(rows, ids.device)).mean(dtype=torch.float32)
        loss, to_scores = self.contrast.with_gradient(scores, likeness)
        share /= rows
        if self.symmetric:
            other, to_columns = self.contrast.with_gradient(scores[:, :rows].T, _of_batch(likeness, rows))
            loss, share = loss.add_(other).div_(2), share / 2
            to_scores[:, :rows] += to_columns.T
        to_cosines = self.temperature.gradient(to_scores, cosines, share)
        to_rows = to_cosines[:, :rows] @ targets
        if negatives is not None:
            to_rows += (to_cosines[:, None, rows:] @ negatives.targets)[:, 0]
        parts = {"infonce_acc": accuracy, **self.temperature.parts()}
        return LossOutput(loss, parts), p.gradient(to_rows)

    def _likeness(self, units: Tensor, own: OwnNegatives | None) -> Tensor | None:
        """Cosines (B, B + k) of own targets to those scored, all at length one, if anything asks for them."""
        asked = self.guide_margin is not None or self.contrast.needs_likeness
        return _cosines(units, units, own) if asked else None

    def _no_negatives(
        self, ids: Tensor, right: RightTargets | None, own: OwnNegatives | None, likeness: Tensor | None
    ) -> Tensor:
        """(B, B + k) bool: whether a target that is not the own one is right for the row, or too near the own one."""
        same = same_or_right(ids, right)
        if own is not None:
            same = torch.cat([same, ~own.usable], dim=1)
        if self.guide_margin is not None and likeness is not None:
            same = same | (likeness > 1 - self.guide_margin)
        return same.fill_diagonal_(False)


def _cosines(rows: Tensor, units: Tensor, own: OwnNegatives | None) -> Tensor:
    """Of rows (B, d) to a batch's targets (B, d), then to the negatives of each row's own: (B, B + k)."""
    to_batch = rows @ units.T
    if own is None:
        return to_batch
    to_own = (own.targets * rows[:, None]).sum(dim=-1)  # a product of matrices takes seven times as long on a CPU
    return torch.cat([to_batch, to_own], dim=1)


def _of_batch(likeness: Tensor | None, rows: int) -> Tensor | None:
    return None if likeness is None else likeness[:, :rows]


@lru_cache(maxsize=8)
def _labels(rows: int, device: torch.device) -> Tensor:
    return torch.arange(rows, device=device)
