"""Tables of JSON lines: one object a row, ``{"inputs": [0.1, …], "targets": [0.3, …], "ids": "doc-7"}``."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from losstune.trainer.base.errors import UserError, shown
from losstune.trainer.data.guards import readable
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import OF_ONE_LENGTH, PADDED, WITHOUT_COLUMN, WITHOUT_NULLS, another
from losstune.trainer.data.table import LISTS

BATCH_BYTES = 4 * 1024 * 1024


class JsonLines:
    """A file of JSON lines; as of :class:`~losstune.trainer.data.table.Table`.

    Read by Python's parser, not by Arrow's: that one can end the process, without an error to catch, and takes a column
    for whole numbers if its first block has no others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable(path), path.open("rb") as stream:
            blocks = iter(lambda: stream.read(BATCH_BYTES), b"")
            self.rows = 1 + sum(block.count(b"\n") for block in blocks)
        first = next(self._objects(), (0, {}))[1]
        self.names = tuple(first)

    def batches(
        self, columns: Mapping[str, str], start: int, absent: Collection[str] = ()
    ) -> Iterator[dict[str, Array]]:
        """As of :class:`~losstune.trainer.data.table.Table`."""
        values: dict[str, list[Any]] = {role: [] for role in columns}
        length, count, first = 0, 0, start
        for size, row in self._objects():
            for role, name in columns.items():
                if row.get(name) is None:
                    found = "null" if name in row else "absent"
                    mend = WITHOUT_NULLS.format(name)
                    raise UserError(f"{self.path}: {role} row {start + count} is {found}{mend}")
                values[role].append(row[name])
            for name in absent:
                if row.get(name) is not None:
                    mend = WITHOUT_COLUMN.format(name)
                    raise UserError(f"{self.path}: row {start + count} has {name!r}, which row {first} has not{mend}")
            length, count = length + size, count + 1
            if length >= BATCH_BYTES:
                yield self._arrays(values, start)
                values, start, length, count = {role: [] for role in columns}, start + count, 0, 0
        if count:
            yield self._arrays(values, start)

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each row with the bytes of its line."""
        where = f"{self.path}: not a readable {self.path.suffix} file: line"
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.isspace():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UserError(f"{where} {number}: {error}") from None
                if not isinstance(row, dict):
                    raise UserError(f"{where} {number} is {shown(row)}; expected an object of columns")
                yield len(line), row

    def _arrays(self, values: Mapping[str, list[Any]], start: int) -> dict[str, Array]:
        return {
            role: (_vectors if role in LISTS else _labels)(found, f"{self.path}: {role}", start)
            for role, found in values.items()
        }


def _vectors(values: Sequence[Any], what: str, start: int) -> Array:
    """Lists of numbers, nested to any depth, as rows (n, …); of negatives, lists of labels too, as (n, k)."""
    role = what.rpartition(" ")[2]
    if role == "negatives" and (lists := _label_lists(values)) is not None:
        return lists
    try:
        rows = np.array(values)
    except (ValueError, OverflowError):
        rows = np.empty(0, dtype=object)
    if rows.dtype.kind in "biuf":
        return rows
    first: tuple[int, ...] | None = None
    for number, value in enumerate(values, start=start):
        try:
            row = np.array(value)
        except (ValueError, OverflowError):
            raise UserError(f"{what} row {number} has lists of unequal length{PADDED}") from None
        if row.dtype.kind not in "biuf":
            raise UserError(f"{what} row {number} is {shown(value)}; expected a list of numbers{another(role)}")
        first = row.shape if first is None else first
        if row.shape != first:
            mend = OF_ONE_LENGTH.format(role, first[0]) if row.ndim else ""
            raise UserError(f"{what} row {number} has shape {row.shape}, row {start} has {first}{mend}")
    raise UserError(f"{what} row {start} is {shown(values[0])}; expected a list of numbers{another(role)}")


def _label_lists(values: Sequence[Any]) -> Array | None:
    """Lists of one length of whole numbers, or of text, as (n, k); None where they are something else."""
    lists = all(isinstance(row, list) and len(row) == len(values[0]) for row in values)
    return _exact(values) if lists and all(isinstance(label, str | int) for row in values for label in row) else None


def _labels(values: Sequence[Any], what: str, start: int) -> Array:
    """Whole numbers, or text, as (n,)."""
    for number, value in enumerate(values, start=start):
        if not isinstance(value, str | int):
            way_on = another(what.rpartition(" ")[2])
            raise UserError(f"{what} row {number} is {shown(value)}; expected a whole number or text{way_on}")
    return _exact(values)


def _exact(values: Sequence[Any]) -> Array:
    """Whole numbers, if all are and 64 bits hold them, else objects: NumPy would make floats of longer ones."""
    found = np.array(values, dtype=object)
    if all(isinstance(value, int) for value in found.flat):
        numbers = np.array(values)
        return numbers if numbers.dtype.kind in "bi" else found
    return found
