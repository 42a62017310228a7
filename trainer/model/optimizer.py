"""AdamW with clipping, in as few calls as torch allows: for small models the calls cost more than the arithmetic."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losstune.trainer.model.fused_adamw import adamw_here, total_norm
from losstune.trainer.model.packed import Packed


class ClippedAdamW:
    """AdamW (Loshchilov and Hutter, 2019) on torch's fused kernel; matrices decay, vectors and scalars do not.

    The gradient of all parameters together is scaled to an L2 norm of at most ``clip_norm`` within the step.
    Equal to ``clip_grad_norm_`` followed by ``torch.optim.AdamW(fused=True)``, at about half their cost; the tests
    hold it to that.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        weight_decay: float,
        clip_norm: float | None,
        pack: Packed | None = None,
    ) -> None:
        """Take the parameters that require gradients.

        Args:
            pack: in which some of them lie, matrices as neighbours, and others too; neighbours are moved as one tensor.
        """
        trained = [p for p in parameters if p.requires_grad]
        self._clip_norm = clip_norm
        self._pack = pack
        whole = None if pack is None else _Whole(pack, pack.zeros(), pack.zeros())
        self._groups = []
        for matrices, decay in ((True, weight_decay), (False, 0.0)):
            own = [p for p in trained if (p.ndim >= 2) == matrices]
            for dtype in dict.fromkeys(p.dtype for p in own):  # one call of the kernel takes one type
                self._groups.append(_Group([p for p in own if p.dtype == dtype], decay, whole))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        if self._pack is not None:
            self._pack.written = False
        for group in self._groups:
            group.zero_grad()

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Clip, and move every parameter that has a gradient."""
        moving = [group.moving() for group in self._groups]
        scale = None if self._clip_norm is None else self._scale(moving, self._clip_norm)
        for group, slots in zip(self._groups, moving, strict=True):
            group.step(slots, lr, scale)

    def _scale(self, moving: list[list["_Slot"]], clip_norm: float) -> Tensor | None:
        """What the gradients are divided by; None where it is 1, which a GPU would have to be waited for to know."""
        packed = [] if self._pack is None or not self._pack.written else [self._pack.gradients]
        norm = total_norm(packed + [slot.gradient for slots in moving for slot in slots if not slot.packed])
        if norm.device.type == "cpu" and float(norm) <= clip_norm:
            return None
        return (norm / clip_norm).clamp_(min=1.0)

    def state_dict(self) -> dict[str, Any]:
        """Moments of every parameter, and the steps that each has taken."""
        return {"groups": [{"first": g.first, "second": g.second, "steps": g.steps()} for g in self._groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, also of earlier releases, where a group has one number of steps."""
        for group, saved in zip(self._groups, state["groups"], strict=True):
            group.set_steps(saved["steps"])
            for mine, theirs in ((group.first, saved["first"]), (group.second, saved["second"])):
                for tensor, value in zip(mine, theirs, strict=True):
                    tensor.copy_(value)


class _Slot(NamedTuple):
    """What the kernel moves as one tensor: a parameter, or neighbours in a pack."""

    value: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    steps: Tensor
    packed: bool


class _Whole(NamedTuple):
    """A pack, with the moments of its parameters in buffers like its own."""

    pack: Packed
    first: Tensor
    second: Tensor


class _Group:
    """Parameters that share a weight decay, with their first and second moments.

    Each counts its own steps: the moments of one that had no gradient at first are as young as it is.
    """

    def __init__(self, parameters: list[Tensor], weight_decay: float, whole: _Whole | None) -> None:
        self._weight_decay = weight_decay
        self._adamw = adamw_here()
        packed = [] if whole is None else [p for p in whole.pack.parameters if any(p is own for own in parameters)]
        together = {id(p) for p in packed}
        alone = [p for p in parameters if id(p) not in together]
        self._taken = torch.zeros(bool(packed) + len(alone), device=parameters[0].device)
        counts = [self._taken[place] for place in range(len(self._taken))]
        self._together: tuple[Packed, _Slot] | None = None
        moments: dict[int, tuple[Tensor, Tensor]] = {}
        if whole is not None and packed:
            views = zip(whole.pack.views(whole.first), whole.pack.views(whole.second), strict=True)
            moments = dict(zip(map(id, whole.pack.parameters), views, strict=True))
            span = whole.pack.span(packed)
            buffers = (whole.pack.values, whole.pack.gradients, whole.first, whole.second)
            value, gradient, first, second = (buffer[span] for buffer in buffers)
            self._together = whole.pack, _Slot(value, gradient, first, second, counts.pop(0), packed=True)
        self._alone = [(p, torch.zeros_like(p), torch.zeros_like(p), n) for p, n in zip(alone, counts, strict=True)]
        moments |= {id(p): (first, second) for p, first, second, _ in self._alone}
        self.first, self.second = ([moments[id(p)][which] for p in parameters] for which in (0, 1))
        places = {id(p): place for place, p in enumerate(alone, start=bool(packed))}
        self._places = [places.get(id(p), 0) for p in parameters]

    def steps(self) -> Tensor:
        """(n,), those of each parameter."""
        return self._taken[self._places]

    def set_steps(self, steps: Tensor) -> None:
        """Continue from (n,), or from () for all."""
        self._taken[self._places] = steps.to(self._taken)

    def zero_grad(self) -> None:
        for parameter, *_ in self._alone:
            parameter.grad = None

    def moving(self) -> list[_Slot]:
        """What has a gradient in this step."""
        alone = [
            _Slot(p, p.grad, first, second, taken, packed=False)
            for p, first, second, taken in self._alone
            if p.grad is not None
        ]
        if self._together is None or not self._together[0].written:
            return alone
        return [self._together[1], *alone]

    def step(self, moving: list[_Slot], lr: float, scale: Tensor | None) -> None:
        if not moving:
            return
        values, gradients, first, second, steps, _ = map(list, zip(*moving, strict=True))
        if len(steps) == len(self._taken):
            self._taken += 1
        else:
            for taken in steps:
                taken += 1
        self._adamw(values, gradients, first, second, steps, lr=lr, weight_decay=self._weight_decay, scale=scale)
