"""What a loss module is made of.

Notation: B rows in a batch, d dimensions, p = predictions (B, d), t = targets (B, d), and
``unit(x) = x / max(‖x‖, 1e-6)`` row by row, in float32 or wider.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import NamedTuple, Protocol, cast

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


class Units:
    """Rows of ``x`` (B, d) at length one, ``rows``, as :func:`unit` makes them, and the way back to ``x``."""

    def __init__(self, x: Tensor) -> None:
        self._dtype = x.dtype
        wide = x if x.dtype == torch.float64 else x.float()
        self._lengths = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        self._divisors = self._lengths.clamp_min(UNIT_EPS)
        self.rows: Tensor = wide / self._divisors

    def gradient(self, gradient: Tensor) -> Tensor:
        """Gradient (B, d) of ``x`` from that of ``rows``, which is overwritten.

        What lies along a row is lost, but for a row so short that it was divided by a constant.
        """
        along = torch.linalg.vecdot(gradient, self.rows).unsqueeze_(1).mul_(self._lengths >= UNIT_EPS)
        return gradient.addcmul_(self.rows, along, value=-1).div_(self._divisors).to(self._dtype)


def centered(x: Tensor, center: Tensor | None) -> Tensor:
    """Rows of ``x`` (…, d) with ``center`` (d,) subtracted; without a centre, ``x`` itself."""
    return x if center is None else x - center


def cosine_distance(predictions: Tensor, targets: Tensor) -> Tensor:
    """mean(1 − unit(p)·unit(t)) over rows (B, d)."""
    return 1 - (unit(predictions) * unit(targets)).sum(dim=-1).mean()


def cosine_with_gradient(predictions: Tensor, units: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """:func:`cosine_distance` from targets at length one, and the gradient (B, d) of ``share`` times it."""
    p = Units(predictions)
    distance = 1 - torch.linalg.vecdot(p.rows, units).mean()
    return distance, p.gradient(units * (-share / len(units)))


class LossOutput(NamedTuple):
    """What a loss module returns for a batch: the scalar to minimise, and scalars worth logging."""

    loss: Tensor
    parts: Mapping[str, Tensor]


class RightTargets(Protocol):
    """Targets that are right for the rows of a batch beside their own: an input may have several."""

    def among(self, ids: Tensor) -> Tensor:
        """(B, M) bool: whether each target (M,), by id, is one of several that are right for each row's input."""
        ...

    def split(self, size: int) -> "Sequence[RightTargets]":
        """Of so many rows at a time."""
        ...


class OwnNegatives(NamedTuple):
    """Negatives that each row of a batch has for itself, beside the batch's targets.

    Attributes:
        targets: (B, k, d).
        usable: (B, k) bool, whether one is there, and no right target of the row.
    """

    targets: Tensor
    usable: Tensor


class LossModule(nn.Module):
    """Base of all loss modules. It may own learnable parameters; they are trained with the model's.

    One that sets rows against targets of others takes a fourth argument, ``right: RightTargets | None = None``: it is
    given where the data has inputs of several targets, which are then no negatives of each other. One that takes
    ``negatives: OwnNegatives | None = None`` is given, in training, those that rows have for themselves.
    """

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        """Loss of one batch.

        Args:
            predictions: (B, d) float.
            targets: (B, d) float.
            ids: (B,) int64, identity of each target; rows that share one share the target.
        """
        raise NotImplementedError


class ClosedForm(Protocol):
    """A loss module that has its gradient as a formula too: in a small step autograd costs more than the arithmetic."""

    def prepared(self, targets: Tensor) -> Tensor:
        """What ``with_gradient`` takes of targets (n, d), of many at once."""
        ...

    def with_gradient(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, share: float
    ) -> tuple[LossOutput, Tensor]:
        """What ``forward`` gives for a training batch, and the gradient (B, d) of ``share`` times the loss.

        Called without autograd, with targets that are prepared. Gradients of the module's own parameters are added to
        their ``grad``.
        """
        ...


def same_or_right(ids: Tensor, right: RightTargets | None) -> Tensor:
    """(B, B) bool: whether the target of each column is right for each row; by id, or as one of its several."""
    same = ids[:, None] == ids[None, :]
    return same if right is None else same | right.among(ids)


def takes_right(method: Callable[..., object]) -> bool:
    """Whether a loss module's method asks for the targets that are right beside a row's own."""
    return "right" in signature(method).parameters


def takes_negatives(method: Callable[..., object]) -> bool:
    """Whether a loss module's method asks for the negatives that rows have for themselves."""
    return "negatives" in signature(method).parameters


def asked_for(
    method: Callable[..., object], right: RightTargets | None, negatives: OwnNegatives | None
) -> dict[str, RightTargets | OwnNegatives]:
    """Of what is known of a batch's targets, by name, what a loss module's method asks for."""
    known: dict[str, RightTargets | OwnNegatives] = {}
    if right is not None and takes_right(method):
        known["right"] = right
    if negatives is not None and takes_negatives(method):
        known["negatives"] = negatives
    return known


def called(
    module: nn.Module,
    predictions: Tensor,
    targets: Tensor,
    ids: Tensor,
    right: RightTargets | None,
    negatives: OwnNegatives | None,
) -> object:
    """What a loss module returns for a batch, given what it asks for of all that is known.

    One without a formula may be a user's, and write into what it is given: it gets copies, as these may be the data.
    """
    if closed_form(module) is None:
        predictions, targets, ids = predictions.clone(), targets.clone(), ids.clone()
        negatives = None if negatives is None else OwnNegatives(*(part.clone() for part in negatives))
    return module(predictions, targets, ids, **asked_for(module.forward, right, negatives))


def closed_form(module: nn.Module) -> ClosedForm | None:
    """The module, if its very class has a ``with_gradient``: one that it inherits may belong to another ``forward``."""
    return cast(ClosedForm, module) if "with_gradient" in vars(type(module)) else None


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to what the parameter's ``grad`` holds, as autograd does."""
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
