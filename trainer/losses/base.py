"""What a loss is made of.

Notation: B rows in a batch, d dimensions, p = predictions (B, d), t = targets (B, d), and
``unit(x) = x / max(‖x‖, 1e-6)`` row by row, in float32 or wider.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from losstune.trainer.base.units import UNIT_EPS


def unit(x: Tensor) -> Tensor:
    """Rows of ``x`` (…, d) scaled to length one; a zero row stays zero.

    Half-precision input is widened first: ``F.normalize``'s own eps of 1e-12 is 0 in half precision.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    length: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(UNIT_EPS)
    return wide / length


def centered(x: Tensor, center: Tensor | None) -> Tensor:
    """Rows of ``x`` (…, d) with ``center`` (d,) subtracted; without a centre, ``x`` itself."""
    return x if center is None else x - center


def cosine_distance(predictions: Tensor, targets: Tensor) -> Tensor:
    """mean(1 − unit(p)·unit(t)) over rows (B, d)."""
    return 1 - (unit(predictions) * unit(targets)).sum(dim=-1).mean()


class LossOutput(NamedTuple):
    """What a loss module returns for a batch: the scalar to minimise, and scalars worth logging."""

    loss: Tensor
    parts: Mapping[str, Tensor]


class LossModule(nn.Module):
    """Base of all loss modules. It may own learnable parameters; they are trained with the model's."""

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        """Loss of one batch.

        Args:
            predictions: (B, d) float.
            targets: (B, d) float.
            ids: (B,) int64, identity of each target; rows that share one share the target.
        """
        raise NotImplementedError


class Gallery(NamedTuple):
    """Each distinct target of the training split once, as the loss will see them: targets (G, d), ids (G,) rising."""

    targets: Tensor
    ids: Tensor


class TrainTargets(Protocol):
    """The training split's targets, for losses that want more of them than a batch has."""

    def gallery(self) -> Gallery:
        """All of them, made when asked for."""
        ...


class LossConfig(BaseModel):
    """Base of all loss configs: the loss's own parameters as pydantic fields, its rules as class values.

    Each parameter has a default, a description and limits; its type is bool, int, float, str or a Literal of texts.
    Its name serves the command line, YAML files and search spaces, so no training setting may have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: ClassVar[str]
    """Letters, digits and ``_``; it names the loss in folders, tables and metrics."""
    smallest_batch: ClassVar[int] = 4
    recommended_batch: ClassVar[int] = 16
    start_lr: ClassVar[float] = 1e-3
    """Recommended learning rate to start from."""
    in_batch: ClassVar[bool] = False
    """Rows of a batch act on each other: partial batches are dropped and the batch size is part of the loss."""

    def build(self, train: TrainTargets) -> LossModule:
        """The module; ``train`` is what it may know of the training split."""
        raise NotImplementedError

    def part_texts(self, parts: Mapping[str, float], batch_size: int) -> list[str]:
        """How a run prints the logged parts of an epoch: ``Gallery Acc: 0.1234`` unless a loss knows better."""
        return [f"{name.replace('_', ' ').title()}: {value:.4f}" for name, value in parts.items()]
