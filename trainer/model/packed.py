"""Parameters that lie in one buffer: what is done to all of them is one call on one tensor."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

PLACE = 16
"""Each parameter begins at a multiple of so many numbers, so that vector instructions find it aligned."""


class Packed:
    """Parameters of one type on one device, one behind the other, and their gradients likewise.

    The parameters' values, and ``grad``, become views of the two buffers; the gaps between them hold zeros. Who packs
    parameters writes every one of their gradients in each step, or none, and says so in ``written``.

    Attributes:
        parameters: in the order in which they lie.
        values, gradients: (n,) each.
        written: whether gradients of this step stand there.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._starts = list(accumulate((-(-p.numel() // PLACE) * PLACE for p in parameters), initial=0))
        self.values = self.zeros()
        self.gradients = self.zeros()
        self.written = False
        for parameter, value, gradient in zip(
            parameters, self.views(self.values), self.views(self.gradients), strict=True
        ):
            value.copy_(parameter.detach())
            parameter.data = value
            parameter.grad = gradient

    def zeros(self) -> Tensor:
        """A buffer (n,) of its own for the same places."""
        return torch.zeros(self._starts[-1], dtype=self.parameters[0].dtype, device=self.parameters[0].device)

    def views(self, buffer: Tensor) -> list[Tensor]:
        """What stands in such a buffer for each parameter, in its shape."""
        return [
            buffer[start : start + parameter.numel()].view(parameter.shape)
            for parameter, start in zip(self.parameters, self._starts, strict=False)
        ]

    def span(self, chosen: Sequence[Tensor]) -> slice:
        """Where in a buffer those of the parameters lie that are chosen; they must be neighbours."""
        places = [index for index, p in enumerate(self.parameters) if any(p is one for one in chosen)]
        if places != list(range(places[0], places[-1] + 1)):
            raise ValueError(f"parameters {places} of {len(self.parameters)} are no neighbours")
        return slice(self._starts[places[0]], self._starts[places[-1] + 1])
