"""What is known of a loss before it is built, and before torch is loaded: its parameters, their limits, its rules."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor, nn


class Gallery(NamedTuple):
    """Each distinct target of the training split once, as the loss will see them: targets (G, d), ids (G,) rising."""

    targets: "Tensor"
    ids: "Tensor"


class TrainTargets(Protocol):
    """The training split's targets, for losses that want more of them than a batch has."""

    @property
    def distinct(self) -> bool:
        """Whether no two rows share a target."""
        ...

    def gallery(self) -> Gallery:
        """All of them, made when asked for."""
        ...


class Mining(NamedTuple):
    """How a training run mines negatives for each of its rows.

    Attributes:
        negatives: of a row.
        every: epochs from one mining to the next.
        sample: targets of the training split, drawn at random, among which they are looked for.
        skip: of a row's nearest targets, how many are passed over.
        margin: targets with a cosine to a row's own above 1 - margin are passed over too; None is none.
    """

    negatives: int
    every: int
    sample: int
    skip: int
    margin: float | None


class LossConfig(BaseModel):
    """Base of all loss configs: the loss's own parameters as pydantic fields, its rules as class values.

    Each parameter has a default, a description and limits; its type is bool, int, float, str or a Literal of texts.
    Its name serves the command line, YAML files and search spaces, so no training setting may have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: ClassVar[str]
    """Letters, digits and ``_``; it names the loss in folders, tables and metrics."""
    smallest_batch: ClassVar[int] = 4
    recommended_batch: ClassVar[int] = 16
    start_lr: ClassVar[float] = 1e-3
    """Recommended learning rate to start from."""
    in_batch: ClassVar[bool] = False
    """Rows of a batch act on each other: partial batches are dropped and the batch size is part of the loss."""

    def build(self, train: TrainTargets) -> "nn.Module":
        """The :class:`losstune.trainer.losses.LossModule`; ``train`` is what it may know of the training split."""
        raise NotImplementedError

    def mining(self) -> Mining | None:
        """How negatives are to be mined, for a loss whose module takes them; None is not at all."""
        return None

    def part_texts(self, parts: Mapping[str, float], batch_size: int) -> list[str]:
        """How a run prints the logged parts of an epoch: ``Gallery Acc: 0.1234`` unless a loss knows better."""
        return [f"{name.replace('_', ' ').title()}: {value:.4f}" for name, value in parts.items()]
