"""Pairs of inputs and targets: where they come from, and what they are once they are checked."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.data.column_names import ColumnNames, Columns
from losstune.trainer.data.labels import SPLIT_NAMES
from losstune.trainer.data.npy import Array, MappedArray, Rows
from losstune.trainer.data.pair_checks import (
    check_inputs,
    check_targets,
    checked_ids,
    checked_split,
    pieces,
    row_bytes,
    typed_inputs,
    typed_targets,
)
from losstune.trainer.data.sources import Source, find_arrays


@dataclass(frozen=True)
class Pairs:
    """N pairs of an input and a fixed target embedding.

    Inputs and targets are arrays in memory, or stay on disk and are read by index; pickled, those are handles.

    Attributes:
        source: what ``--data`` said, files as absolute paths.
        inputs: (N, …) float32, uint8 or int64; in memory integers take no more bytes than they were given in.
        targets: (N, d) float32, finite, no zero row.
        ids: (N,) int64, identity of the target; rows that share one share the target.
        split: (N,) int8 index into ``SPLIT_NAMES`` where the data fixes the split, else None.
        digest: SHA-256 of all of the above but the source, hexadecimal; the same wherever inputs and targets lie.
        columns: what ``--columns`` said.
        unused: names of what else the source has.
    """

    source: str
    inputs: Rows
    targets: Rows
    ids: npt.NDArray[np.int64]
    split: npt.NDArray[np.int8] | None
    digest: str
    columns: str | None = None
    unused: tuple[str, ...] = ()

    @property
    def fixes_validation(self) -> bool:
        """Whether the data says which rows are validated on; else they are drawn by id and seed."""
        return self.split is not None and bool((self.split == SPLIT_NAMES.index("val")).any())

    @property
    def bytes_in_memory(self) -> int:
        """What a copy of these pairs takes: arrays that stay on disk take nothing."""
        arrays = (self.inputs, self.targets, self.ids, self.split)
        return sum(array.nbytes for array in arrays if array is not None and not isinstance(array, MappedArray))


def load_pairs(source: Source, columns: Columns = None) -> Pairs:
    """Load and check pairs from ``digits``, a file, a folder, ``package.module:function``, or arrays by name.

    A check of more than two seconds shows how far it is, on a terminal.

    Args:
        columns: what is named otherwise than its role, as ``inputs=anchor,targets=positive`` or names by role.

    Raises:
        UserError: naming the file, the array and the row, and what is allowed.
    """
    names = ColumnNames.of(columns)
    found = find_arrays(source, names)
    return replace(make_pairs(found.arrays, found.source), columns=str(names) or None, unused=found.unused)


def load_inputs(source: str, columns: Columns = None) -> Rows:
    """Only the inputs of ``source``, checked; targets may be absent, or anything."""
    found = find_arrays(source, ColumnNames.of(columns), ("inputs",))
    inputs = typed_inputs(found.arrays["inputs"], found.source)
    with shown_if_long(f"Checking {found.source}", len(inputs)) as advance:
        check_inputs(_passing(inputs, lambda piece: advance(len(piece))), found.source)
    return inputs


def load_targets(source: str, columns: Columns = None) -> Rows:
    """Only the targets of ``source``, checked; inputs may be absent, or anything."""
    found = find_arrays(source, ColumnNames.of(columns), ("targets",))
    targets = typed_targets(found.arrays["targets"], found.source)
    with shown_if_long(f"Checking {found.source}", len(targets)) as advance:
        check_targets(_passing(targets, lambda piece: advance(len(piece))), found.source, identify=False)
    return targets


def make_pairs(arrays: Mapping[str, Rows], source: str) -> Pairs:
    """Check raw arrays named ``inputs``, ``targets`` and, optionally, ``ids`` and ``split``."""
    targets, inputs = typed_targets(arrays["targets"], source), typed_inputs(arrays["inputs"], source)
    if len(inputs) != len(targets):
        raise UserError(
            f"{source}: inputs has {len(inputs)} rows, targets has {len(targets)}; they must be equal: "
            f"array[:{min(len(inputs), len(targets))}] of each"
        )
    digest = hashlib.sha256()
    total = len(inputs) * (row_bytes(inputs) + row_bytes(targets))
    with shown_if_long(f"Checking {source}", total) as advance:

        def passed(piece: Array) -> None:
            digest.update(piece.data)
            advance(piece.nbytes)

        _begin(digest, inputs)
        check_inputs(_passing(inputs, passed), source)
        _begin(digest, targets)
        by_content = check_targets(_passing(targets, passed), source, identify="ids" not in arrays)
    ids = checked_ids(np.asarray(arrays["ids"]), targets, source) if "ids" in arrays else by_content
    split = checked_split(np.asarray(arrays["split"]), ids, source) if "split" in arrays else None
    for array in (ids, split):
        if array is not None:
            _begin(digest, array)
            digest.update(array.data)
    return Pairs(source, inputs, targets, ids, split, digest.hexdigest())


def _begin(digest: "hashlib._Hash", array: Rows) -> None:
    digest.update(f"{array.dtype}{array.shape}".encode())


def _passing(rows: Rows, passed: Callable[[Array], None]) -> Iterator[tuple[int, Array]]:
    """All rows in pieces, each handed to ``passed`` as well."""
    for start, piece in pieces(rows):
        passed(piece)
        yield start, piece
