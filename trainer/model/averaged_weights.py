"""An exponential average of a model's weights over the steps of its training, to be evaluated in their place."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from losstune.trainer.model.fused_adamw import move_towards
from losstune.trainer.model.packed import Packed

TAKEN = 16
"""Times that weights are taken in within an epoch, or a time constant that is shorter: those of neighbouring steps are
nearly the same, and a pass over a wide model takes 4 % of a step."""


class AveragedWeights:
    """a ← a + w_i (θ − a) after every k-th step, the i-th time with w_i = max(1 − exp(−k/T), 10/(9 + i)).

    T is the time constant in steps, and k a sixteenth of T, or of an epoch where that is shorter; 1 at least. The first
    term alone is an average whose weights fall off by e in T steps. The second, at first the larger, is that of
    TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``: early on the average reaches back a tenth of the
    steps so far. The weights that a model begins with are not in it, for w_1 = 1.

    Averaged are the parameters that are trained, and a model's persistent buffers of floating-point numbers, as a
    BatchNorm's running moments. Numbers of half precision are averaged in float32.
    """

    def __init__(self, model: nn.Module, epochs: float, steps: int, pack: Packed | None) -> None:
        """Nothing is averaged yet.

        Args:
            epochs: the time constant.
            steps: in an epoch.
            pack: in which the model's parameters lie, if they do.
        """
        self._model, self._pack = model, pack
        self._every = max(1, int(min(epochs, 1) * steps / TAKEN))
        self._least_share = -math.expm1(-self._every / (epochs * steps))
        self._steps = 0
        state = model.state_dict()
        packed = set() if pack is None else {id(p) for p in pack.parameters}
        self._parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in packed]
        moving = [(name, b) for name, b in model.named_buffers() if name in state and b.is_floating_point()]
        self._buffers = [name for name, _ in moving] if pack is None else []  # the encoder's own stay as they are
        self._averages = [torch.zeros_like(t, dtype=_wide(t), requires_grad=False) for t in self._sources()]

    def _sources(self) -> list[Tensor]:
        """What is averaged; a module may have put another tensor in a buffer's place."""
        packed = [] if self._pack is None else [self._pack.values]
        if not self._buffers:
            return [*packed, *self._parameters]
        buffers = dict(self._model.named_buffers())
        return [*packed, *self._parameters, *(buffers[name] for name in self._buffers)]

    @torch.no_grad()
    def update(self) -> None:
        """A step was made: take in the weights after it, if it is their turn."""
        self._steps += 1
        times, rest = divmod(self._steps, self._every)
        if rest:
            return
        share = max(self._least_share, 10 / (9 + times))
        sources = zip(self._averages, self._sources(), strict=True)
        move_towards(self._averages, [source.to(average.dtype) for average, source in sources], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A block in which the model has the averaged weights; before any are taken in, its own."""
        if self._steps < self._every:
            yield
            return
        sources = [source.detach() for source in self._sources()]
        kept = [source.clone() for source in sources]
        try:
            _copy(self._averages, sources)
            yield
        finally:
            _copy(kept, sources)

    def weights(self) -> dict[str, Tensor]:
        """What is averaged, by its names in the model's state; references."""
        found = {id(source): average for source, average in zip(self._sources(), self._averages, strict=True)}
        if self._pack is not None:
            views = self._pack.views(self._averages[0])
            found |= {id(p): view for p, view in zip(self._pack.parameters, views, strict=True)}
        parameters = self._model.named_parameters(remove_duplicate=False)  # one that is shared has several names
        buffers = self._model.named_buffers(remove_duplicate=False)
        return {name: found[id(tensor)] for name, tensor in (*parameters, *buffers) if id(tensor) in found}

    def state_dict(self) -> dict[str, Any]:
        """Averages by name, and the steps so far."""
        return {"steps": self._steps, "weights": self.weights()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._steps = int(state["steps"])
        mine, theirs = self.weights(), state["weights"]
        if mine.keys() != theirs.keys():
            raise ValueError(f"averages of {sorted(theirs)} where those of {sorted(mine)} were expected")
        for name, average in mine.items():
            average.copy_(theirs[name])


def evaluated_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trainer's state the model's weights by name, the averaged ones where there are such."""
    averages: dict[str, Any] = state["average"]["weights"] if "average" in state else {}
    return {**state["model"], **averages}


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


@torch.no_grad()
def _copy(values: list[Tensor], places: list[Tensor]) -> None:
    for value, place in zip(values, places, strict=True):
        place.copy_(value)
