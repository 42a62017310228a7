"""The built-in encoder: a multilayer perceptron, or a linear map at depth 0."""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from trainer.columns import Moments
from trainer.config import ModelConfig


class Encoder(nn.Module):
    """Maps inputs (B, …) to embeddings (B, d); anything but the first axis is flattened.

    Each hidden layer is Linear → LayerNorm → GELU → Dropout, and a last Linear maps to d. The output is
    not normalised: losses and metrics that compare directions normalise on their own.
    """

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...], output_dim: int) -> None:
        """Build with fresh weights.

        Args:
            input_shape: shape of one input, without the batch axis.
            output_dim: d.
        """
        super().__init__()
        width = prod(input_shape)
        self.residual = config.residual
        self.standardize = config.standardize
        self.register_buffer("input_mean", torch.zeros(width))
        self.register_buffer("input_scale", torch.ones(width))
        widths = [width] + [config.hidden_dim] * config.depth
        self.layers = nn.ModuleList(_hidden_layer(before, after, config) for before, after in pairwise(widths))
        self.head = nn.Linear(widths[-1], output_dim)

    def fit_inputs(self, moments: Moments) -> None:
        """Set shift and scale from the training inputs' moments; a constant feature is only shifted."""
        if self.standardize:
            self.input_mean.copy_(moments.mean)
            self.input_scale.copy_(moments.scale)

    @torch.no_grad()
    def fit_targets(self, mean: Tensor) -> None:
        """Start the last bias at the training targets' mean (d,), so that predictions start around it."""
        self.head.bias.copy_(mean)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embeddings (B, d) of inputs (B, …)."""
        x = inputs.flatten(1).to(self.input_mean.dtype)  # (B, width)
        if self.standardize:
            x = (x - self.input_mean) * self.input_scale
        for index, layer in enumerate(self.layers):
            y = layer(x)
            x = x + y if self.residual and index > 0 else y
        embedding: Tensor = self.head(x)
        return embedding


def _hidden_layer(before: int, after: int, config: ModelConfig) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(before, after)]
    if config.layer_norm:
        parts.append(nn.LayerNorm(after))
    parts.append(nn.GELU(approximate="tanh"))
    if config.dropout > 0:
        parts.append(nn.Dropout(config.dropout))
    return nn.Sequential(*parts)
