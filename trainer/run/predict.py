"""Files of what a trained model makes of new inputs, and of targets that are to be searched."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import written_output
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.columns import rows_at_once, whole_column
from losstune.trainer.data.npy import write_npy_header
from losstune.trainer.data.pairs import load_inputs, load_targets
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.score.ranking import NonFiniteError, refuse_rows


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
    with _told_of_targets():
        targets = load_targets(source, columns)
    trained.check_width(targets, f"--targets {source}")
    column_of = whole_column(targets)
    found = (trained.for_search(rows.to(trained.device), dims) for rows in column_of.split(rows_at_once(column_of)))
    return len(targets), _write_rows(output, len(targets), found, f"--targets {source}")


@contextmanager
def _told_of_targets() -> Iterator[None]:
    """What can not be read is told by the option that named it, which takes all that ``--data`` does."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("--data", "--targets")) from None


def _write_rows(output: Path, count: int, pieces_of: Iterator[Tensor], where: str) -> int:
    """Write ``count`` rows to a ``.npy`` file as they come; returns how many dimensions they have."""
    finite: list[Tensor] = []
    with written_output(output) as stream, shown_if_long("Embedding", count) as advance:
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
