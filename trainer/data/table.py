"""A table in a file, and how its columns become arrays in bounded memory."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.guards import check_size
from losstune.trainer.data.npy import Array, DType

VECTORS = ("inputs", "targets")
"""Roles with many numbers a row, which data has to have."""
LISTS = (*VECTORS, "negatives")
"""Roles with many numbers a row, or with many labels; a column of another has one label."""


class Table(Protocol):
    """Rows by column in one file, read a batch at a time.

    Attributes:
        names: of its columns.
        rows: how many, or a few more.
    """

    path: Path
    names: tuple[str, ...]
    rows: int

    def batches(
        self, columns: Mapping[str, str], start: int, absent: Collection[str] = ()
    ) -> Iterator[dict[str, Array]]:
        """All rows in order, in batches of arrays by role; numbers of any type, text and bytes as objects.

        Args:
            columns: names by role.
            start: the number that messages give to the first row.
            absent: names that are not among :attr:`names`, and that no row may have.

        Raises:
            UserError: a value can not be read as what it is to be; names the row.
        """
        ...


def kept_type(role: str, dtype: DType) -> DType:
    """The type in which a column is kept: floating numbers as training takes them."""
    return np.dtype(np.float32) if role in LISTS and dtype.kind == "f" else dtype


def gathered(tables: Sequence[Table], batches: Iterable[dict[str, Array]]) -> dict[str, Array]:
    """The batches of some tables as whole arrays by role; beside these, memory holds one batch.

    Raises:
        UserError: rows of unequal shape, or more bytes than the files can mean, or than memory has.
    """
    rows, size = sum(table.rows for table in tables), sum(table.path.stat().st_size for table in tables)
    kept: dict[str, Array] = {}
    filled = 0
    for batch in batches:
        if not kept:
            first = {role: (kept_type(role, part.dtype), part.shape[1:]) for role, part in batch.items()}
            check_size(tables[0].path, rows * sum(d.itemsize * prod(shape) for d, shape in first.values()), size)
            kept = {role: np.empty((rows, *shape), dtype) for role, (dtype, shape) in first.items()}
        for role, part in batch.items():
            kept[role] = _widened(role, kept[role], kept_type(role, part.dtype))
            with np.errstate(over="ignore", invalid="ignore"):  # too large for the type becomes infinity
                kept[role][filled : filled + len(part)] = part
        filled += len(next(iter(batch.values())))
    return {role: array[:filled] for role, array in kept.items()}


def _widened(role: str, array: Array, dtype: DType) -> Array:
    """The array in a type that also holds numbers of this one: shards may differ."""
    return array if dtype == array.dtype else array.astype(common_type(role, array.dtype, dtype))


def common_type(role: str, one: DType, other: DType) -> DType:
    """The type that holds what both hold.

    Of whole numbers with and without a sign of 64 bits none does: they become int64, as each alone is kept, but ids and
    groups objects, so that two of them that would count as one are seen.
    """
    if "O" in (one.kind, other.kind):
        return np.dtype(object)
    both = np.promote_types(one, other)
    if both.kind == "f" and {one.kind, other.kind} == {"i", "u"}:
        return np.dtype(object if role in ("ids", "groups") else np.int64)
    return both


def same_shapes(batches: Iterable[dict[str, Array]], source: str, start: int = 0) -> Iterator[dict[str, Array]]:
    """The batches, refused where a row has another shape than the first.

    Raises:
        UserError: names the row.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for batch in batches:
        for role, part in batch.items():
            shape = shapes.setdefault(role, part.shape[1:])
            if part.shape[1:] != shape:
                raise UserError(
                    f"{source}: {role} row {start} has shape {part.shape[1:]}, row 0 has {shape}; they must be equal"
                )
        start += len(next(iter(batch.values())))
        yield batch
