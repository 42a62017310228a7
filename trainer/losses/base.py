"""What a loss module is made of.

Notation: B rows in a batch, d dimensions, p = predictions (B, d), t = targets (B, d), and
``unit(x) = x / max(‖x‖, 1e-6)`` row by row, in float32 or wider.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
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
