"""The built-in encoder, a multilayer perceptron or a linear map at depth 0; and models of the user's own."""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.config.factory import FACTORY, load_factory
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.data.columns import Moments


def build_model(config: ModelConfig | FactoryConfig, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    """A new model on the CPU, weights drawn from torch's generator.

    Args:
        input_shape: shape of one input, without the batch axis.
        output_dim: d.

    Raises:
        UserError: the user's factory fails, or returns no module or none that could be trained.
    """
    match config:
        case ModelConfig():
            return Encoder(config, input_shape, output_dim)
        case FactoryConfig():
            return _own_model(config, input_shape, output_dim)


def _own_model(config: FactoryConfig, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    where = f"{FACTORY} {config.factory}"
    build = load_factory(config.factory).build
    try:
        model = build(input_shape=input_shape, output_dim=output_dim, **config.options)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the user's own code, whatever it stumbles over
        called = f"with input_shape {input_shape} and output_dim {output_dim}"
        raise UserError(f"{where}: failed {called}: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{where}: returned {type(model).__name__}, not a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{where}: nothing to train: no parameter of its model requires gradients")
    return model


@torch.enable_grad()
def check_output(model: nn.Module, config: FactoryConfig, inputs: Tensor, output_dim: int) -> None:
    """Pass a few rows (B, …) through a user's model before anything is trained.

    Raises:
        UserError: it fails, or does not return (B, d) floating-point numbers that training can change.
    """
    where = f"{FACTORY} {config.factory}: its model"
    taken = f"{str(inputs.dtype).removeprefix('torch.')} inputs {tuple(inputs.shape)}"
    try:
        output = model.eval()(inputs)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the user's own code, whatever it stumbles over
        raise UserError(f"{where} failed on {taken}: {type(error).__name__}: {one_line(error)}") from error
    expected = f"expected floating-point numbers {(len(inputs), output_dim)}"
    if not isinstance(output, Tensor):
        raise UserError(f"{where} maps {taken} to {type(output).__name__}; {expected}")
    if output.shape != (len(inputs), output_dim) or not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise UserError(f"{where} maps {taken} to {kind} {tuple(output.shape)}; {expected}")
    if not output.requires_grad:
        raise UserError(f"{where}: nothing to train: its output depends on no parameter that requires gradients")


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

    def prepared(self, inputs: Tensor) -> Tensor:
        """What the first layer sees of inputs (B, …): (B, width), standardised where that is wished."""
        x = inputs.flatten(1).to(self.input_mean.dtype)
        return (x - self.input_mean) * self.input_scale if self.standardize else x

    def forward(self, inputs: Tensor) -> Tensor:
        """Embeddings (B, d) of inputs (B, …)."""
        return self.embed(self.prepared(inputs))

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (B, d) of prepared inputs (B, width)."""
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
