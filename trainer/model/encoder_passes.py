"""The encoder's forward and backward pass by its own formulas, with the gradients written where the optimizer has them.

For small layers autograd costs more than the arithmetic: it makes a node of each call and a tensor of each gradient.
The kernels are those that autograd would call.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from losstune.trainer.model.encoder import Encoder
from losstune.trainer.model.packed import Packed

_ATEN: Any = torch.ops.aten


class EncoderPasses:
    """Passes batches through an encoder that is trained in float32, and their gradients back.

    Attributes:
        pack: the encoder's parameters, first its matrices, then its vectors.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Pack the parameters; they stay the encoder's."""
        self.pack = Packed(sorted(encoder.parameters(), key=lambda p: p.ndim < 2))
        self._encoder = encoder
        layers = [layer for layer in encoder.layers if isinstance(layer, nn.Sequential)]
        self._hidden = [[_stage(module, bottom=layer is layers[0]) for module in layer] for layer in layers]
        self._head = _Linear(encoder.head, bottom=not layers)

    def prepared(self, inputs: Tensor) -> Tensor:
        """What :meth:`forward` takes, of inputs (n, …)."""
        return self._encoder.prepared(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, d) of prepared inputs, as the encoder makes them in training, without a graph."""
        for index, stages in enumerate(self._hidden):
            y = x
            for stage in stages:
                y = stage.forward(y)
            x = x + y if self._encoder.residual and index > 0 else y
        return self._head.forward(x)

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of all parameters, from that (B, d) of what :meth:`forward` gave last.

        Where gradients of the same step stand already, they are added to.
        """
        onto = float(self.pack.written)
        gradient = self._head.backward(gradient, onto)
        for index, stages in reversed(list(enumerate(self._hidden))):
            below = gradient
            for stage in reversed(stages):
                below = stage.backward(below, onto)
            gradient = gradient + below if self._encoder.residual and index > 0 else below
        self.pack.written = True


class _Stage(Protocol):
    """A module of a layer: remembers what its gradient needs from one forward pass to the backward pass after it."""

    def forward(self, x: Tensor) -> Tensor: ...

    def backward(self, gradient: Tensor, onto: float) -> Tensor:
        """Gradient of x, from that of the result; those of parameters are added to what stood there, times ``onto``."""
        ...


def _stage(module: nn.Module, *, bottom: bool) -> _Stage:
    match module:
        case nn.Linear():
            return _Linear(module, bottom=bottom)
        case nn.LayerNorm():
            return _Norm(module)
        case nn.GELU():
            return _Gelu()
        case nn.Dropout():
            return _Dropout(module.p)
        case _:
            raise TypeError(f"no gradient is written for {type(module).__name__}")


class _Linear:
    """x W' + b. The gradient of the inputs themselves, at the bottom, nobody asks for."""

    def __init__(self, module: nn.Linear, *, bottom: bool) -> None:
        self._weight, self._bias = module.weight.detach(), module.bias.detach()
        self._turned = self._weight.t()
        self._gradients = _gradient(module.weight), _gradient(module.bias)
        self._bottom = bottom
        self._x: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return torch.addmm(self._bias, x, self._turned)

    def backward(self, gradient: Tensor, onto: float) -> Tensor:
        assert self._x is not None
        weight, bias = self._gradients
        torch.addmm(weight, gradient.t(), self._x, beta=onto, out=weight)
        if onto:
            bias.add_(gradient.sum(dim=0))
        else:
            torch.sum(gradient, dim=0, out=bias)
        self._x = None
        return gradient if self._bottom else gradient @ self._weight


class _Norm:
    """LayerNorm over the last axis."""

    def __init__(self, module: nn.LayerNorm) -> None:
        self._weight, self._bias = module.weight.detach(), module.bias.detach()
        self._gradients = _gradient(module.weight), _gradient(module.bias)
        self._shape, self._eps = list(module.normalized_shape), module.eps
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        y, mean, scale = _ATEN.native_layer_norm.default(x, self._shape, self._weight, self._bias, self._eps)
        self._kept = x, mean, scale
        return y

    def backward(self, gradient: Tensor, onto: float) -> Tensor:
        assert self._kept is not None
        below: Tensor
        below, weight, bias = _ATEN.native_layer_norm_backward.default(
            gradient, self._kept[0], self._shape, *self._kept[1:], self._weight, self._bias, [True, True, True]
        )
        for place, found in zip(self._gradients, (weight, bias), strict=True):
            if onto:
                place.add_(found)
            else:
                place.copy_(found)
        self._kept = None
        return below


class _Gelu:
    """GELU in its approximation by tanh, as the encoder has it."""

    _x: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return nn.functional.gelu(x, approximate="tanh")

    def backward(self, gradient: Tensor, onto: float) -> Tensor:
        below: Tensor = _ATEN.gelu_backward.default(gradient, self._x, approximate="tanh")
        self._x = None
        return below


class _Dropout:
    """Drops a share of the numbers, and scales the others up; draws what ``nn.Dropout`` draws."""

    def __init__(self, rate: float) -> None:
        self._kept = 1 - rate
        self._mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._mask = torch.empty_like(x).bernoulli_(self._kept).div_(self._kept)
        return x * self._mask

    def backward(self, gradient: Tensor, onto: float) -> Tensor:
        assert self._mask is not None
        below, self._mask = gradient * self._mask, None
        return below


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None  # a packed parameter's lies in the pack
    return parameter.grad
