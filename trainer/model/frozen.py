"""Frozen parts of a model: parameters that require no gradients. They come from its factory, not from checkpoints."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.factory import FACTORY
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training may change, by name: parameters that require gradients, and persistent buffers; references."""
    frozen = _frozen(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def load_trained_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Put back what :func:`trained_state` gave; the frozen parts stay as they are.

    Raises:
        RuntimeError: names or shapes are not those of this model.
    """
    model.load_state_dict(_frozen(model) | state)


def frozen_digest(model: nn.Module) -> str | None:
    """SHA-256 of the frozen parameters, their names, types and shapes, hexadecimal; None where nothing is frozen."""
    digest = hashlib.sha256()
    frozen = _frozen(model)
    for name, tensor in sorted(frozen.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest() if frozen else None


def check_frozen(
    digest: str | None, config: ModelConfig | FactoryConfig, content: Mapping[str, Any], path: Path
) -> None:
    """Compare a model's :func:`frozen_digest` with that in a checkpoint's content.

    Raises:
        UserError: they differ; names the factory.
    """
    if isinstance(config, FactoryConfig) and digest != content.get("frozen"):
        raise UserError(
            f"checkpoint {path}: {FACTORY} {config.factory}: its frozen weights are not those "
            "that this checkpoint was trained with"
        )


def _frozen(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
