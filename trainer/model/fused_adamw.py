"""One step of AdamW for many tensors: on torch's fused kernel, which is private, or where that has changed a plain one.

Used of torch's private parts are ``torch._fused_adamw_``, ``torch._foreach_norm`` and ``torch._foreach_lerp_``. The
public ways to the same kernels, ``torch.optim.AdamW(fused=True)`` and ``torch.nn.utils.clip_grad_norm_``, sort and
check their tensors in Python at each step, and multiply all gradients where the kernel can divide them as it reads
them: for a small model about twice the time. ``tests/trainer/model/test_fused_adamw.py`` fails where a later torch has
them otherwise. Training goes on then with ways that are public, slower, and equal but for rounding.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)
EPS = 1e-8

_TORCH: Any = torch


class AdamW(Protocol):
    """One step in place, of tensors of one type on one device; lists are of equal length and order."""

    def __call__(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        first: list[Tensor],
        second: list[Tensor],
        steps: list[Tensor],
        *,
        lr: float,
        weight_decay: float,
        scale: Tensor | None,
    ) -> None:
        """Move the parameters.

        Args:
            first, second: the moments; they are moved too.
            steps: () each, float32: steps that each has taken, this one included.
            scale: (), what the gradients are divided by before anything else; None is 1. They may be left divided.
        """


def fused_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    weight_decay: float,
    scale: Tensor | None,
) -> None:
    """An :class:`AdamW` in one call of torch's kernel."""
    _TORCH._fused_adamw_(
        parameters,
        gradients,
        first,
        second,
        [],
        steps,
        lr=lr,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=weight_decay,
        eps=EPS,
        amsgrad=False,
        maximize=False,
        grad_scale=scale,
    )


def plain_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    weight_decay: float,
    scale: Tensor | None,
) -> None:
    """An :class:`AdamW` by torch's function of that name, which counts the step itself, for each parameter."""
    adamw(
        parameters,
        gradients if scale is None else [gradient / scale for gradient in gradients],
        first,
        second,
        [],
        [taken - 1 for taken in steps],
        foreach=True,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=lr,
        weight_decay=weight_decay,
        eps=EPS,
        maximize=False,
    )


@cache
def adamw_here() -> AdamW:
    """The fused step where this torch has it as it is used here, else the plain one."""
    fused, plain = _second_step_of(fused_adamw), _second_step_of(plain_adamw)
    return fused_adamw if fused is not None and plain is not None and torch.allclose(fused, plain) else plain_adamw


def total_norm(gradients: list[Tensor]) -> Tensor:
    """(), float32: the L2 norm of all gradients together."""
    if len(gradients) == 1:
        alone: Tensor = torch.linalg.vector_norm(gradients[0]).float()
        return alone
    if hasattr(_TORCH, "_foreach_norm"):
        norms: Sequence[Tensor] = _TORCH._foreach_norm(gradients)
    else:
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    together: Tensor = torch.linalg.vector_norm(torch.stack(tuple(norms)).float())
    return together


def move_towards(tensors: list[Tensor], goals: list[Tensor], share: float) -> None:
    """Move tensors in place by a share of the way to goals of their types."""
    if len(tensors) > 1 and hasattr(_TORCH, "_foreach_lerp_"):
        _TORCH._foreach_lerp_(tensors, goals, share)
    else:
        for tensor, goal in zip(tensors, goals, strict=True):
            tensor.lerp_(goal, share)


@torch.no_grad()
def _second_step_of(step: AdamW) -> Tensor | None:
    """(3,), what a second step makes of one number and of its moments; None if this torch has no such step."""
    parameter, gradient, first, second = (torch.tensor([value]) for value in (0.5, 0.25, 0.125, 0.0625))
    taken, scale = torch.tensor(2.0), torch.tensor(2.0)
    try:
        step([parameter], [gradient], [first], [second], [taken], lr=0.5, weight_decay=0.25, scale=scale)
    except (AttributeError, TypeError, RuntimeError):
        return None
    return torch.cat([parameter, first, second])
