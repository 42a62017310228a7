"""AdamW with clipping, in as few calls as torch allows: for small models the calls cost more than the arithmetic."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)
EPS = 1e-8


class ClippedAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on torch's fused kernel; matrices decay, vectors and scalars do not.

    The gradient of all parameters together is scaled to an L2 norm of at most ``clip_norm`` by the kernel itself.
    Equal to ``clip_grad_norm_`` followed by ``torch.optim.AdamW(fused=True)``, without their per-call overhead.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float, clip_norm: float | None) -> None:
        """Take the parameters that require gradients."""
        self._parameters = [p for p in parameters if p.requires_grad]
        self._clip_norm = clip_norm
        self._groups = [
            _Group([p for p in self._parameters if p.ndim >= 2], weight_decay),
            _Group([p for p in self._parameters if p.ndim < 2], 0.0),
        ]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Clip, and move every parameter that has a gradient."""
        scale = None
        if self._clip_norm is not None:
            norm = get_total_norm([p.grad for p in self._parameters if p.grad is not None])
            scale = (norm / self._clip_norm).clamp_(min=1.0).float()  # the kernel divides gradients by it
        for group in self._groups:
            group.step(lr, scale)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts, parameter by parameter."""
        return {"groups": [group.state for group in self._groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for group, saved in zip(self._groups, state["groups"], strict=True):
            for mine, theirs in zip(group.state, saved, strict=True):
                for a, b in zip(mine, theirs, strict=True):
                    a.copy_(b)


class _Group:
    """Parameters that share a weight decay; ``state`` has (first moment, second moment, steps) for each."""

    def __init__(self, parameters: list[Tensor], weight_decay: float) -> None:
        self._parameters = parameters
        self._weight_decay = weight_decay
        self.state = [
            (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device)) for p in parameters
        ]

    def step(self, lr: float, scale: Tensor | None) -> None:
        moving = [(p, p.grad, *s) for p, s in zip(self._parameters, self.state, strict=True) if p.grad is not None]
        if not moving:
            return
        parameters, gradients, first, second, steps = (list(column) for column in zip(*moving, strict=True))
        adamw(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            grad_scale=scale,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=lr,
            weight_decay=self._weight_decay,
            eps=EPS,
            maximize=False,
        )
