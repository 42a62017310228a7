"""Hand-made batches, and losses recomputed by plain loops over them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from losstune.trainer.config.loss_registry import loss_config_class
from losstune.trainer.losses import Gallery, LossModule, LossOutput

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@dataclass(frozen=True)
class Targets:
    """Training targets (N, d) by ids (N,), for a loss that asks for them."""

    targets: Tensor
    ids: Tensor

    @property
    def distinct(self) -> bool:
        return len(set(self.ids.tolist())) == len(self.ids)

    def gallery(self) -> Gallery:
        ids = sorted(set(self.ids.tolist()))
        rows = [self.ids.tolist().index(identity) for identity in ids]
        return Gallery(self.targets[rows], torch.tensor(ids))


def ids_of(targets: Tensor, ids: Tensor | None) -> Tensor:
    return torch.arange(len(targets)) if ids is None else ids


def module_of(name: str, targets: Tensor, ids: Tensor | None = None, **settings: Any) -> LossModule:
    return loss_config_class(name)(**settings).build(Targets(targets, ids_of(targets, ids)))


def run(name: str, predictions: Tensor, targets: Tensor, ids: Tensor | None = None, **settings: Any) -> LossOutput:
    """A loss of a batch whose rows are the whole training split."""
    return module_of(name, targets, ids, **settings)(predictions, targets, ids_of(targets, ids))


def random_batch(seed: int, rows: int = 8, dims: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, dims, generator=generator, dtype=dtype) for _ in range(2))  # type: ignore[return-value]


def twin_batch(seed: int, groups: int = 4, twins: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """A batch in which every target stands ``twins`` times, under one id."""
    ids = torch.arange(groups).repeat(twins)
    predictions, targets = random_batch(seed, rows=groups * twins)
    return predictions, targets[ids], ids


def length(row: list[float]) -> float:
    return max(math.sqrt(sum(x * x for x in row)), 1e-6)


def cosine_by_loops(p: list[float], t: list[float]) -> float:
    return sum(a * b for a, b in zip(p, t, strict=True)) / length(p) / length(t)


def cosine_loss_by_loops(predictions: Tensor, targets: Tensor) -> float:
    rows = list(zip(predictions.tolist(), targets.tolist(), strict=True))
    return sum(1 - cosine_by_loops(p, t) for p, t in rows) / len(rows)


def softmax_by_loops(own: float, others: list[float]) -> float:
    """−log of the softmax share of ``own`` among itself and ``others``."""
    highest = max([own, *others])
    return highest + math.log(sum(math.exp(s - highest) for s in [own, *others])) - own


def infonce_by_loops(predictions: Tensor, targets: Tensor, ids: list[int], temperature: float) -> float:
    """Mean over rows of −log of the softmax share of the own target among it and all other targets."""
    total = 0.0
    for i, p in enumerate(predictions.tolist()):
        scores = [cosine_by_loops(p, t) / temperature for t in targets.tolist()]
        total += softmax_by_loops(scores[i], [scores[j] for j in range(len(ids)) if ids[j] != ids[i]])
    return total / len(ids)


def mse_by_loops(predictions: Tensor, targets: Tensor) -> float:
    pairs = list(zip(predictions.flatten().tolist(), targets.flatten().tolist(), strict=True))
    return sum((p - t) ** 2 for p, t in pairs) / len(pairs)
