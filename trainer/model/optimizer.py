"""AdamW with clipping, in as few calls as torch allows: for small models the calls cost more than the arithmetic."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from losstune.trainer.model.fused_adamw import adamw_here, total_norm


class ClippedAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on torch's fused kernel; matrices decay, vectors and scalars do not.

    The gradient of all parameters together is scaled to an L2 norm of at most ``clip_norm`` within the step.
    Equal to ``clip_grad_norm_`` followed by ``torch.optim.AdamW(fused=True)``, at about half their cost; the tests
    hold it to that.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float, clip_norm: float | None) -> None:
        """Take the parameters that require gradients."""
        trained = [p for p in parameters if p.requires_grad]
        self._clip_norm = clip_norm
        self._groups = []
        for matrices, decay in ((True, weight_decay), (False, 0.0)):
            own = [p for p in trained if (p.ndim >= 2) == matrices]
            for dtype in dict.fromkeys(p.dtype for p in own):  # one call of the kernel takes one type
                self._groups.append(_Group([p for p in own if p.dtype == dtype], decay))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self._groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Clip, and move every parameter that has a gradient."""
        scale = None
        if self._clip_norm is not None:
            gradients = [p.grad for group in self._groups for p in group.parameters if p.grad is not None]
            scale = (total_norm(gradients) / self._clip_norm).clamp_(min=1.0)  # gradients are divided by it
        for group in self._groups:
            group.step(lr, scale)

    def state_dict(self) -> dict[str, Any]:
        """Moments of every parameter, and the steps taken."""
        return {"groups": [{"first": g.first, "second": g.second, "steps": g.steps} for g in self._groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for group, saved in zip(self._groups, state["groups"], strict=True):
            group.steps.copy_(saved["steps"])
            for mine, theirs in ((group.first, saved["first"]), (group.second, saved["second"])):
                for tensor, value in zip(mine, theirs, strict=True):
                    tensor.copy_(value)


class _Group:
    """Parameters that share a weight decay, with their first and second moments."""

    def __init__(self, parameters: list[Tensor], weight_decay: float) -> None:
        self.parameters = parameters
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.steps = torch.zeros((), device=parameters[0].device)
        self._slots = list(zip(parameters, self.first, self.second, strict=True))
        self._weight_decay = weight_decay
        self._adamw = adamw_here()

    def step(self, lr: float, scale: Tensor | None) -> None:
        moving = [slot for slot in self._slots if slot[0].grad is not None]
        if not moving:
            return
        self.steps += 1
        self._adamw(
            [p for p, _, _ in moving],
            [p.grad for p, _, _ in moving if p.grad is not None],
            [first for _, first, _ in moving],
            [second for _, _, second in moving],
            self.steps,
            lr=lr,
            weight_decay=self._weight_decay,
            scale=scale,
        )
