"""A trained model back from its checkpoint, and what it makes of arrays."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from losstune.trainer.base.argument_words import for_programs
from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.config.matryoshka import trained_dims
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.columns import Column, whole_column
from losstune.trainer.data.npy import Rows
from losstune.trainer.data.pair_checks import check_inputs, check_targets, pieces, typed_inputs, typed_targets
from losstune.trainer.data.sources import IN_MEMORY, as_array
from losstune.trainer.losses import centered, unit
from losstune.trainer.model.averaged_weights import evaluated_weights
from losstune.trainer.model.encoder import build_model
from losstune.trainer.model.frozen import check_frozen, frozen_digest, load_trained_state
from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint
from losstune.trainer.run.device import embed_pieces, pick_device, seeded


@dataclass(frozen=True)
class TrainedModel:
    """A model with the config it was trained by.

    Attributes:
        input_shape, input_dtype: of one input, and NumPy's type of it.
        output_dim: d, of embeddings.
        center: (d,) mean of the targets that it was trained on, where it was trained about it.
    """

    model: nn.Module
    config: TrainConfig
    input_shape: tuple[int, ...]
    input_dtype: str
    output_dim: int
    center: Tensor | None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @for_programs
    def predict(
        self, inputs: npt.ArrayLike, *, for_search: bool = False, dims: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Embeddings (N, d) of inputs (N, …), an array or what becomes one, in order.

        Args:
            for_search: as queries of an index by inner product that holds :meth:`gallery`.
            dims: only so many, one of :attr:`trained_dims`; None is all.

        Raises:
            LosstuneError: another shape, or for a user's own model another type, than it was trained on; an input that
                is no finite number; or a prefix that it was not trained for.
        """
        self.check_dims(dims)
        rows = typed_inputs(as_array(inputs, "inputs"), IN_MEMORY)
        self.check_rows(rows, "--inputs")
        check_inputs(pieces(rows), IN_MEMORY)
        found = self.embeddings(whole_column(rows))
        return (self.for_search(found, dims) if for_search else found[:, :dims]).cpu().numpy()

    @for_programs
    def gallery(self, targets: npt.ArrayLike, *, dims: int | None = None) -> npt.NDArray[np.float32]:
        """Targets (N, d) as an index by inner product is to hold them; its order is that of losstune's own ranks.

        Args:
            dims: as of :meth:`predict`.

        Raises:
            LosstuneError: another shape, a row that is not finite, or of length zero; a prefix as of :meth:`predict`.
        """
        self.check_dims(dims)
        rows = typed_targets(as_array(targets, "targets"), IN_MEMORY)
        self.check_width(rows, "--targets")
        check_targets(pieces(rows), IN_MEMORY, identify=False)
        return self.for_search(torch.from_numpy(rows[:]).to(self.device), dims).cpu().numpy()

    def check_width(self, targets: Rows, where: str) -> None:
        """Refuse targets (N, d) that are no neighbours of the model's embeddings.

        Raises:
            UserError: they have another number of dimensions.
        """
        if targets.shape[1] != self.output_dim:
            raise UserError(f"{where}: targets have {targets.shape[1]} dimensions; the model gives {self.output_dim}")

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Dimensions of the prefixes that it was trained for, the last one d, its whole embeddings."""
        return trained_dims(self.config.prefixes, self.output_dim)

    def check_dims(self, dims: int | None) -> None:
        """Refuse a prefix that it was not trained for.

        Raises:
            UserError: with the allowed ones.
        """
        if dims is not None and dims not in self.trained_dims:
            *prefixes, whole = self.trained_dims
            listed = f"{', '.join(map(str, prefixes))} or {whole}" if prefixes else str(whole)
            how = "" if prefixes else ", as it was trained without matryoshka_dims"
            raise UserError(f"--dims {dims}: the model's prefixes are of {listed} dimensions{how}")

    def for_search(self, rows: Tensor, dims: int | None = None) -> Tensor:
        """Rows (N, d), of predictions or of targets, about the centre if there is one, of length one.

        Args:
            dims: only the first of them, (N, dims), which then have length one; None is all.

        Raises:
            UserError: the model was trained about a centre that its checkpoint does not know.
        """
        if not self.knows_center:
            raise UserError(
                "the checkpoint is of a losstune that did not keep the centre: train it again, or resume it"
            )
        return unit(centered(rows.float(), self.center)[:, :dims])

    @property
    def knows_center(self) -> bool:
        """Whether it can make rows ready for search: the centre is known, or the model was trained about none."""
        return self.center is not None or not self.config.center

    def embeddings(self, inputs: Column) -> Tensor:
        """Embeddings (N, d) float32 of inputs (N, …), in order, on the model's device."""
        return torch.cat(list(self.embedding_pieces(inputs)))

    def embedding_pieces(self, inputs: Column) -> Iterator[Tensor]:
        """As :meth:`embeddings`, ``eval_batch`` rows at a time."""
        return embed_pieces(self.model, inputs, self.config, self.device)

    def check_rows(self, inputs: Rows, where: str) -> None:
        """Refuse inputs that the model was not made for.

        Raises:
            UserError: they have another shape, or, for a user's own model, another type.
        """
        if inputs.shape[1:] != self.input_shape:
            raise UserError(f"{where}: one input has shape {inputs.shape[1:]}; the model takes {self.input_shape}")
        if isinstance(self.config.model, FactoryConfig) and inputs.dtype != self.input_dtype:
            raise UserError(f"{where}: inputs are {inputs.dtype}; the model was trained on {self.input_dtype}")


def load_model(path: str | os.PathLike[str]) -> TrainedModel:
    """The model of a ``best.pt`` or ``last.pt``, with its averaged weights where it was trained with such.

    Raises:
        UserError: the file can not be read, is damaged, or is no checkpoint of a run; the user's factory can not be
            called any more, or gives other frozen weights.
    """
    path = Path(path)
    content = load_checkpoint(path)
    try:
        config = TrainConfig.from_flat(content["config"], where=f"checkpoint {path}")
        weights: dict[str, Any] = content["model"] if "model" in content else evaluated_weights(content["state"])
        input_shape, input_dtype = tuple(map(int, content["input_shape"])), str(content["input_dtype"])
        output_dim = int(content["output_dim"])
        match config.model:
            case ModelConfig() as encoder:
                with torch.device("meta"):  # no memory for weights before it is known that they are there
                    model = build_model(encoder, input_shape, output_dim)
                model.load_state_dict(weights, assign=True)
            case FactoryConfig():
                with seeded(config.seed, 0, torch.device("cpu")):  # what is frozen may have been drawn
                    model = build_model(config.model, input_shape, output_dim)
                check_frozen(frozen_digest(model), config.model, content, path)
                load_trained_state(model, weights)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise DamagedCheckpointError(f"checkpoint {path}: not a model of a run: {one_line(error)}") from None
    device = pick_device("cpu" if config.device == "cpu" else "auto")  # trained on a GPU, a model serves anywhere
    center = content.get("center")
    return TrainedModel(
        model.to(device), config, input_shape, input_dtype, output_dim, None if center is None else center.to(device)
    )
