"""Means over the rows of an epoch."""

import torch
from torch import Tensor

from losstune.trainer.data.columns import ROWS_AT_ONCE
from losstune.trainer.losses import LossOutput
from losstune.trainer.score.metrics import cosine_similarity
from losstune.trainer.score.parts import SameParts


class EpochMeans:
    """Loss, its parts and cosine similarity, gathered without waiting for the device, and reduced in large pieces."""

    def __init__(self, loss: str) -> None:
        """Of an epoch of training with a loss of this name."""
        self._same_parts = SameParts(loss, "training")
        self._sums: dict[str, float] = {}
        self._rows = 0
        self._outputs: list[LossOutput] = []
        self._predictions: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, output: LossOutput, predictions: Tensor, targets: Tensor) -> None:
        """Take in one batch, without a graph.

        Raises:
            UserError: it has other parts than the first one.
        """
        self._same_parts.check(output.parts)
        self._outputs.append(output)
        self._predictions.append(predictions)
        self._targets.append(targets)
        if len(self._outputs) * len(predictions) >= ROWS_AT_ONCE:
            self._reduce()

    def result(self) -> dict[str, float]:
        """The means; an epoch has at least one batch."""
        self._reduce()
        return {name: total / self._rows for name, total in self._sums.items()}

    def _reduce(self) -> None:
        if not self._outputs:
            return
        sizes = torch.tensor([len(p) for p in self._predictions], dtype=torch.float64)
        columns = {"loss": [output.loss for output in self._outputs]}
        columns |= {name: [output.parts[name] for output in self._outputs] for name in self._outputs[0].parts}
        for name, values in columns.items():
            total = torch.stack(values).double().cpu() @ sizes
            self._sums[name] = self._sums.get(name, 0.0) + float(total)
        cosine = cosine_similarity(torch.cat(self._predictions), torch.cat(self._targets)).double().sum()
        self._sums["cosine_sim"] = self._sums.get("cosine_sim", 0.0) + float(cosine)
        self._rows += int(sizes.sum())
        self._outputs, self._predictions, self._targets = [], [], []
