"""Softmax over the full gallery: each prediction against every target of the training split."""

import itertools

import torch
from torch import Tensor

from losstune.trainer.config.loss_config import Gallery, TrainTargets
from losstune.trainer.losses.base import LossModule, LossOutput, RightTargets, unit
from losstune.trainer.losses.temperature import Temperature, TemperatureConfig

SCORES_AT_ONCE = 2**24
"""Scores held at once where no gradient is taken: 64 MiB in float32."""


class FullSoftmaxConfig(TemperatureConfig):
    """Cross-entropy against all training targets, which are fixed; the batch size does not limit the negatives."""

    name = "full_softmax"
    start_lr = 5e-4

    def build(self, train: TrainTargets) -> LossModule:
        return FullSoftmaxLoss(train.gallery(), Temperature(self.temperature, learnt=self.learn_temperature))


class FullSoftmaxLoss(LossModule):
    """−mean_i log( exp(s_i) / (exp(s_i) + Σ_g exp(s_ig)) ), a softmax over the gallery of the training split.

    s_i = unit(p_i)·unit(t_i) / temperature, and s_ig the same with the targets g of the gallery that have another id
    than row i's, and are not right for its input beside it. A row of the validation split is set against the training
    targets and its own.

    Logs ``gallery_acc``, the share of rows whose own target scores higher than all others; at random 1/(G + 1) or
    1/G. Range of the loss: [0, ∞), about log G at random. A training step holds B × G scores a few times over, so
    memory grows with the gallery: 128 rows against 100,000 targets are 51 MB each time.
    """

    ids: Tensor
    gallery: Tensor

    def __init__(self, gallery: Gallery, temperature: Temperature) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("gallery", unit(gallery.targets), persistent=False)  # the data has it: no checkpoint does
        self.register_buffer("ids", gallery.ids, persistent=False)

    def forward(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, right: RightTargets | None = None
    ) -> LossOutput:
        p, t = unit(predictions), unit(targets)
        at_once = len(ids) if torch.is_grad_enabled() else max(1, SCORES_AT_ONCE // len(self.ids))
        rights = itertools.repeat(None) if right is None else right.split(at_once)
        pieces = zip(p.split(at_once), t.split(at_once), ids.split(at_once), rights, strict=False)
        found = [self._rows(*piece) for piece in pieces]
        losses, hits = (torch.cat(column) for column in zip(*found, strict=True))
        return LossOutput(losses.mean(), {"gallery_acc": hits.float().mean(), **self.temperature.parts()})

    def _rows(self, p: Tensor, t: Tensor, ids: Tensor, right: RightTargets | None) -> tuple[Tensor, Tensor]:
        """Loss (B,) of unit rows, and whether (B,) their own target scores best."""
        own = self.temperature((p * t).sum(dim=-1))  # (B,)
        others = self.temperature(p @ self.gallery.T)  # (B, G)
        places = torch.searchsorted(self.ids, ids).clamp_max(len(self.ids) - 1)[:, None]  # (B, 1)
        itself = self.ids[places] == ids[:, None]
        others = others.scatter(1, places, others.gather(1, places).masked_fill(itself, float("-inf")))
        if right is not None:
            others = others.masked_fill(right.among(self.ids), float("-inf"))
        losses = torch.logaddexp(own, others.logsumexp(dim=-1)) - own
        return losses, own.detach() > others.detach().amax(dim=-1)
