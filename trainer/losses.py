"""The losses and their registry.

A loss is two classes: a config (its parameters with limits, its batch rules) and the module it builds.
Both, and nothing else, are what a new loss has to bring.

Notation: B rows in a batch, d dimensions, p = predictions (B, d), t = targets (B, d), and
``unit(x) = x / max(‖x‖, 1e-6)`` row by row, in float32 or wider.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from trainer.errors import UserError
from trainer.units import UNIT_EPS


def unit(x: Tensor) -> Tensor:
    """Rows of ``x`` (…, d) scaled to length one; a zero row stays zero.

    Half-precision input is widened first: ``F.normalize``'s own eps of 1e-12 is 0 in half precision.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    length: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(UNIT_EPS)
    return wide / length


def centered(x: Tensor, center: Tensor | None) -> Tensor:
    """Rows of ``x`` (…, d) with ``center`` (d,) subtracted; without a centre, ``x`` itself."""
    return x if center is None else x - center


class LossOutput(NamedTuple):
    """What a loss module returns for a batch: the scalar to minimise, and scalars worth logging."""

    loss: Tensor
    parts: Mapping[str, Tensor]


class LossModule(nn.Module):
    """Base of all loss modules. It may own learnable parameters; they are trained with the model's."""

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        """Loss of one batch.

        Args:
            predictions: (B, d) float.
            targets: (B, d) float.
            ids: (B,) int64, identity of each target; rows that share one share the target.
        """
        raise NotImplementedError


class LossConfig(BaseModel):
    """Base of all loss configs: the loss's own parameters as pydantic fields, its rules as class values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: ClassVar[str]
    smallest_batch: ClassVar[int] = 4
    recommended_batch: ClassVar[int] = 16
    start_lr: ClassVar[float] = 1e-3
    """Recommended learning rate to start from."""
    in_batch: ClassVar[bool] = False
    """Rows of a batch act on each other: partial batches are dropped and the batch size is part of the loss."""

    def build(self, train_targets: Tensor) -> LossModule:
        """The module; ``train_targets`` (N, d) are all targets of the training split, as the loss will see them."""
        raise NotImplementedError


AnyLoss = TypeVar("AnyLoss", bound=LossConfig)
_REGISTRY: dict[str, type[LossConfig]] = {}


def register_loss(config_class: type[AnyLoss]) -> type[AnyLoss]:
    """Make a loss known by its ``name``. Used as a decorator on its config class."""
    if config_class.name in _REGISTRY:
        raise ValueError(f"a loss named {config_class.name!r} is registered already")
    _REGISTRY[config_class.name] = config_class
    return config_class


def loss_names() -> list[str]:
    """Names of all registered losses, in order of registration."""
    return list(_REGISTRY)


def loss_config_class(name: object) -> type[LossConfig]:
    """The config class of a loss.

    Raises:
        UserError: no loss has this name.
    """
    if isinstance(name, str) and name in _REGISTRY:
        return _REGISTRY[name]
    raise UserError(f"loss_fn: found {name!r}; allowed: {', '.join(_REGISTRY)}")


@register_loss
class MseConfig(LossConfig):
    """Mean squared error, the baseline: mean over rows and dimensions of (p − t)²."""

    name = "mse"

    def build(self, train_targets: Tensor) -> LossModule:
        return MseLoss()


class MseLoss(LossModule):
    """mean((p − t)²). Range [0, ∞). On unit vectors it equals 2(1 − cos)/d."""

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(F.mse_loss(predictions, targets), {})


@register_loss
class CosineConfig(LossConfig):
    """1 − cosine similarity, the default: aligns direction and ignores scale."""

    name = "cosine"

    def build(self, train_targets: Tensor) -> LossModule:
        return CosineLoss()


class CosineLoss(LossModule):
    """mean(1 − unit(p)·unit(t)). Range [0, 2]; 0 is perfect alignment."""

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(_cosine_distance(predictions, targets), {})


def _cosine_distance(predictions: Tensor, targets: Tensor) -> Tensor:
    return 1 - (unit(predictions) * unit(targets)).sum(dim=-1).mean()


@register_loss
class CosineMseConfig(LossConfig):
    """α · cosine + β · MSE. Direction 0.8/0.2, balanced 0.7/0.3, distance 0.5/0.5."""

    name = "cosine_mse"

    cosine_weight: float = Field(0.7, ge=0, le=100, description="weight of the cosine part")
    mse_weight: float = Field(0.3, ge=0, le=100, description="weight of the MSE part")

    @model_validator(mode="after")
    def _some_weight(self) -> "CosineMseConfig":
        if self.cosine_weight == 0 and self.mse_weight == 0:
            raise ValueError("cosine_weight and mse_weight are both 0: nothing would be trained")
        return self

    def build(self, train_targets: Tensor) -> LossModule:
        return CosineMseLoss(self.cosine_weight, self.mse_weight)


class CosineMseLoss(LossModule):
    """α · mean(1 − unit(p)·unit(t)) + β · mean((p − t)²). Logs both parts as they enter the sum."""

    def __init__(self, cosine_weight: float, mse_weight: float) -> None:
        super().__init__()
        self.cosine_weight = cosine_weight
        self.mse_weight = mse_weight

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        cosine = self.cosine_weight * _cosine_distance(predictions, targets)
        mse = self.mse_weight * F.mse_loss(predictions, targets)
        return LossOutput(cosine + mse, {"weighted_cosine": cosine.detach(), "weighted_mse": mse.detach()})


@register_loss
class InfoNceConfig(LossConfig):
    """In-batch contrastive cross-entropy over cosine / temperature; strongest for retrieval."""

    name = "infonce"
    smallest_batch = 16
    recommended_batch = 32
    start_lr = 5e-4
    in_batch = True

    temperature: float = Field(
        0.07, ge=0.001, le=10, description="softmax temperature; 0.05 hard, 0.07 balanced, 0.10 soft"
    )
    symmetric: bool = Field(False, description="also classify targets against predictions, and average")

    def build(self, train_targets: Tensor) -> LossModule:
        return InfoNceLoss(self.temperature, self.symmetric)


class InfoNceLoss(LossModule):
    """Cross-entropy of each prediction against the batch's targets (van den Oord et al., 2018, eq. 4).

    −mean_i log( exp(s_ii) / Σ_{j ∈ {i} ∪ N(i)} exp(s_ij) ), with s_ij = unit(p_i)·unit(t_j) / temperature
    and N(i) the rows whose target is another one than row i's: rows that share a target are no negatives.
    ``symmetric`` adds the same over columns and halves the sum (Radford et al., 2021, fig. 3).

    Logs ``infonce_acc``, the share of rows whose best-scored target is their own, by identity; at random
    about 1/B. Range of the loss: [0, ∞), about log B at random.
    """

    def __init__(self, temperature: float, symmetric: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.symmetric = symmetric

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        scores = unit(predictions) @ unit(targets).T / self.temperature  # (B, B)
        labels = torch.arange(len(ids), device=ids.device)
        twins = (ids[:, None] == ids[None, :]).fill_diagonal_(False)
        scores = scores.masked_fill(twins, float("-inf"))
        loss = F.cross_entropy(scores, labels)
        if self.symmetric:
            loss = (loss + F.cross_entropy(scores.T, labels)) / 2
        accuracy = (scores.detach().argmax(dim=1) == labels).float().mean()
        return LossOutput(loss, {"infonce_acc": accuracy})
