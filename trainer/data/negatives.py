"""Negatives that the data itself gives to its rows, checked: as vectors, or as ids of targets."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.units import UNIT_EPS
from losstune.trainer.data.labels import whole_ids
from losstune.trainer.data.npy import Array, Rows
from losstune.trainer.data.pair_checks import as_type, finite, ids_by_content, pieces
from losstune.trainer.data.remedies import FINITE, SHORT_ENOUGH, another

Labels = npt.NDArray[np.int64]

NO_TARGET, NOTHING = -1, -2
"""In place of a row: the vector is no target of the data; there is no negative."""
_OF_TWO_AXES = "negatives of two axes are ids of targets; found"


@dataclass(frozen=True)
class Negatives:
    """k negatives of each of N rows.

    Attributes:
        rows: (N, k) int64, a row whose target each is, or ``NO_TARGET`` or ``NOTHING``.
        vectors: (N, k, d) float32 where they were given as such; else they are the targets of those rows.
    """

    rows: Labels
    vectors: Rows | None = None


def check_negatives(given: Rows, targets: Rows, source: str) -> None:
    """Refuse negatives that are neither (N, k, d) floats nor (N, k) labels, beside targets (N, d).

    Raises:
        UserError: says which of it, and what is right.
    """
    rows, wide = targets.shape
    if len(given.shape) not in (2, 3) or len(given) != rows or given.size == 0:
        raise UserError(
            f"{source}: negatives has shape {given.shape}; expected ({rows}, k, {wide}), or ({rows}, k) ids"
            f"{another('negatives')}"
        )
    if len(given.shape) == 2 and given.dtype.kind == "f":
        raise UserError(f"{source}: {_OF_TWO_AXES} type {given.dtype}{another('negatives')}")
    if len(given.shape) == 3 and (given.shape[2] != wide or not np.issubdtype(given.dtype, np.floating)):
        raise UserError(
            f"{source}: negatives has type {given.dtype} and {given.shape[2]} dimensions; "
            f"expected float, and {wide} as targets"
        )


def negatives_of(
    given: Rows, targets: Rows, ids: Labels, source: str, *, named: bool, passed: Callable[[Array], None]
) -> Negatives:
    """Check the array ``negatives``: (N, k, d) floats, or (N, k) ids of targets; vectors of zeros stand for none.

    Args:
        named: the data has an array ids; else these are by content.
        passed: is handed all that is in it, in pieces.

    Raises:
        UserError: another shape or type, a vector that is not finite, or an id of no row; names the row.
    """
    check_negatives(given, targets, source)
    if len(given.shape) == 2:
        return _by_id(np.asarray(given[:]), ids, source, named=named, passed=passed)
    return _vectors(given, targets, ids, source, named=named, passed=passed)


def _by_id(given: Array, ids: Labels, source: str, *, named: bool, passed: Callable[[Array], None]) -> Negatives:
    if not named:
        raise UserError(f"{source}: {_OF_TWO_AXES} ids of targets, and the data has no array ids{another('ids')}")
    wanted = whole_ids(given.reshape(-1), given.size, source, "negatives").reshape(given.shape)
    rows = first_row(ids, wanted)
    if (rows == NO_TARGET).any():
        row, place = np.argwhere(rows == NO_TARGET)[0]
        raise UserError(
            f"{source}: negatives row {row} names {given[row, place]!s}, which is the id of no row; a row that has "
            "fewer negatives than others names its own target, which is left out"
        )
    passed(wanted)
    return Negatives(rows)


def _vectors(
    given: Rows, targets: Rows, ids: Labels, source: str, *, named: bool, passed: Callable[[Array], None]
) -> Negatives:
    vectors = as_type(given, np.float32)
    content = np.concatenate([ids_by_content(piece) for _, piece in pieces(targets)]) if named else ids
    rows = np.empty(given.shape[:2], dtype=np.int64)
    for start, piece in pieces(vectors):
        passed(piece)
        flat, every = piece.reshape(-1, piece.shape[2]), np.arange(start, start + len(piece))
        if not (good := finite(piece)).all():
            row = start + int(good.argmin())
            mend = FINITE.format("negatives")
            raise UserError(f"{source}: negatives row {row} holds NaN, infinity or a number beyond float32{mend}")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(piece, axis=2)
        if (long := np.isinf(lengths).any(axis=1)).any():
            row = start + int(long.argmax())
            mend = SHORT_ENOUGH.format("negatives")
            raise UserError(f"{source}: negatives row {row} holds a vector with a length beyond float32{mend}")
        own = ids_by_content(flat).reshape(piece.shape[:2])
        found = np.where(own == content[every, None], every[:, None], first_row(content, own))
        rows[every] = np.where(lengths <= UNIT_EPS, NOTHING, found)
    return Negatives(rows, vectors)


def first_row(labels: Labels, wanted: Labels) -> Labels:
    """The first row (N,) of each wanted label, ``NO_TARGET`` where none has it."""
    distinct, first = np.unique(labels, return_index=True)
    places = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    return np.where(distinct[places] == wanted, first[places], NO_TARGET)
