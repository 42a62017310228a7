"""A trained model back from its checkpoint, and what it makes of new inputs."""

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
from losstune.trainer.base.files import written_whole
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.config.matryoshka import trained_dims
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.columns import Column, column, mean_of, rows_at_once, whole_column
from losstune.trainer.data.npy import Rows, write_npy_header
from losstune.trainer.data.pair_checks import check_inputs, check_targets, pieces, typed_inputs, typed_targets
from losstune.trainer.data.pairs import Pairs, load_inputs, load_targets
from losstune.trainer.data.resident import split_tensors
from losstune.trainer.data.sources import IN_MEMORY, raw_arrays
from losstune.trainer.data.splits import split_rows
from losstune.trainer.losses import centered, unit
from losstune.trainer.model.averaged_weights import evaluated_weights
from losstune.trainer.model.encoder import build_model
from losstune.trainer.model.frozen import check_frozen, frozen_digest, load_trained_state
from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint
from losstune.trainer.run.device import embed_pieces, pick_device, seeded
from losstune.trainer.score.flags import geometry_flags
from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import NonFiniteError, embedding_metrics, refuse_rows
from losstune.trainer.score.prefixes import prefix_scores


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
        rows = typed_inputs(raw_arrays({"inputs": inputs})["inputs"], IN_MEMORY)
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
        rows = typed_targets(raw_arrays({"targets": targets})["targets"], IN_MEMORY)
        check_targets(pieces(rows), IN_MEMORY, identify=False)
        return self.for_search(torch.from_numpy(rows[:]).to(self.device), dims).cpu().numpy()

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


def predict_file(
    checkpoint: Path,
    source: str,
    output: Path,
    columns: Columns = None,
    *,
    for_search: bool = False,
    dims: int | None = None,
) -> tuple[int, int]:
    """Write the embeddings of all inputs of ``source`` to a ``.npy`` file, one row per input row, in order.

    Inputs that stay on disk, and embeddings, are never whole in memory.

    Args:
        for_search: as :meth:`TrainedModel.for_search` makes them.
        dims: only so many dimensions, as of :meth:`TrainedModel.predict`.

    Returns:
        The shape (N, d) of what was written.

    Raises:
        UserError: the inputs have another shape than the model was trained on, or, for a user's own model, another
            type; predictions are not finite; or a prefix that it was not trained for.
        OSError: the file can not be written.
    """
    trained = load_model(checkpoint)
    trained.check_dims(dims)
    inputs = load_inputs(source, columns)
    trained.check_rows(inputs, f"--data {source}")
    found = trained.embedding_pieces(whole_column(inputs))
    made = (trained.for_search(rows, dims) if for_search else rows[:, :dims].contiguous() for rows in found)
    return len(inputs), _write_rows(output, len(inputs), made, f"--data {source}")


def gallery_file(
    checkpoint: Path, source: str, output: Path, columns: Columns = None, *, dims: int | None = None
) -> tuple[int, int]:
    """Write all targets of ``source``, in order, as :meth:`TrainedModel.gallery` makes them; as :func:`predict_file`.

    Raises:
        UserError: the targets can not be used, or have another number of dimensions than the model's; a prefix as of
            :func:`predict_file`.
    """
    trained = load_model(checkpoint)
    trained.check_dims(dims)
    targets = load_targets(source, columns)
    whole = trained.output_dim
    if targets.shape[1] != whole:
        raise UserError(f"--targets {source}: targets have {targets.shape[1]} dimensions; the model gives {whole}")
    column_of = whole_column(targets)
    found = (trained.for_search(rows.to(trained.device), dims) for rows in column_of.split(rows_at_once(column_of)))
    return len(targets), _write_rows(output, len(targets), found, f"--targets {source}")


def _write_rows(output: Path, count: int, pieces_of: Iterator[Tensor], where: str) -> int:
    """Write ``count`` rows to a ``.npy`` file as they come; returns how many dimensions they have."""
    finite: list[Tensor] = []
    with written_whole(output) as stream, shown_if_long("Embedding", count) as advance:
        for rows in pieces_of:
            if not finite:
                write_npy_header(stream, (count, rows.shape[1]), np.float32)
            stream.write(rows.cpu().numpy().data)
            finite.append(torch.isfinite(rows).all(dim=-1).cpu())
            advance(len(rows))
        try:
            refuse_rows(torch.cat(finite))
        except NonFiniteError as error:
            raise UserError(f"{where}: {error}") from None
    return int(rows.shape[1])


@dataclass(frozen=True)
class Scored:
    """A model on the locked test split.

    Attributes:
        metrics: ``test/…``: those of :func:`embedding_metrics`, of :func:`geometry`, and of :func:`prefix_scores`.
        gallery: G, the number of distinct targets.
        dim: min(N, d), the highest effective rank there could be.
        flags: sentences of :func:`geometry_flags`.
    """

    metrics: dict[str, float]
    gallery: int
    dim: int
    flags: list[str]


def score_test(checkpoint: Path, pairs: Pairs) -> Scored:
    """Score a model on the test split of its own run, about that run's centre if it was trained with one.

    Raises:
        UserError: the test split has no rows, or predictions are not finite.
    """
    trained = load_model(checkpoint)
    rows = split_rows(pairs, trained.config.split_seed, train_on_val=trained.config.fit == "train+val")
    if len(rows.test) == 0:
        raise UserError(f"{pairs.source}: the test split has no rows to score")
    split = split_tensors(pairs, rows.test, trained.device)
    center = mean_of(column(pairs.targets, rows.train, trained.device)).float() if trained.config.center else None
    predictions = trained.embeddings(split.inputs)
    scored = (predictions, split.targets, split.gallery, split.positive, center, split.others)
    sizes = [prefix.dims for prefix in trained.config.prefixes if prefix.dims < trained.output_dim]
    try:
        scores = embedding_metrics(*scored) | prefix_scores(embedding_metrics, sizes, *scored)
        shape = geometry(predictions, split.targets, split.gallery, center)
    except NonFiniteError as error:
        raise UserError(f"{pairs.source}: test split: {error}") from None
    dim = min(predictions.shape)
    metrics = {f"test/{name}": value for name, value in {**scores, **shape}.items()}
    return Scored(metrics, len(split.gallery), dim, geometry_flags(shape, dim))
