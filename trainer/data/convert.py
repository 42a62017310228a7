"""Data of any form as a folder of ``.npy`` files, which training maps: written a piece at a time."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import IO

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.data.column_names import ROLES, ColumnNames, Columns
from losstune.trainer.data.labels import kept_labels
from losstune.trainer.data.narrow import narrow_type
from losstune.trainer.data.negatives import check_negatives
from losstune.trainer.data.npy import Array, DType, Rows, write_npy_header
from losstune.trainer.data.pair_checks import check_forms, pieces
from losstune.trainer.data.remedies import another
from losstune.trainer.data.shards import Shards, in_file, in_folder, is_pattern, matching, these
from losstune.trainer.data.sources import check_needed, find_arrays, looking_at
from losstune.trainer.data.table import VECTORS, common_type
from losstune.trainer.data.table_files import TABLES

Batches = Iterator[dict[str, Array]]


@dataclass
class NpyWriter:
    """Rows that are appended to a ``.npy`` file, whose number the header gets at the end."""

    stream: IO[bytes]
    what: str
    most_rows: int
    rows: int = 0
    dtype: DType | None = None
    shape: tuple[int, ...] = field(default=())

    def append(self, part: Array) -> None:
        """Write some rows: floats as they are trained on, whole numbers in no more bytes than they have.

        Raises:
            UserError: it is another than that of the rows before.
        """
        dtype = _written_type(part.dtype)
        if self.dtype is None:
            self.dtype, self.shape = dtype, part.shape[1:]
            write_npy_header(self.stream, (self.most_rows, *self.shape), dtype)
        if dtype != self.dtype:
            raise UserError(f"{self.what} are {dtype} from row {self.rows} on, {self.dtype} before; write them alike")
        with np.errstate(over="ignore", invalid="ignore"):  # too large becomes infinity, and is refused when it is read
            self.stream.write(np.ascontiguousarray(part, dtype=dtype).data)
        self.rows += len(part)

    def close(self) -> None:
        """Say in the header how many rows there are: NumPy leaves room in it for their number."""
        assert self.dtype is not None
        self.stream.seek(0)
        write_npy_header(self.stream, (self.rows, *self.shape), self.dtype)


def convert(sources: Sequence[str], output: Path, columns: Columns = None) -> int:
    """Write a folder that loads as the same pairs, with the same digest; returns the number of rows.

    Memory holds ids and splits, and of all else some megabytes, where the source is files of rows.

    Args:
        sources: what ``--data`` takes, or several files of rows.

    Raises:
        UserError: the data can not be read, or the folder is there already.
        OSError: it can not be written.
    """
    names = ColumnNames.of(columns)
    with looking_at(sources[0]):
        source, rows, batches = _opened(sources, names)
    if output.exists():
        raise UserError(f"{output}: is there already; name a folder that is not")
    partial = output.with_name(f".{output.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with shown_if_long(f"Converting {source}", rows) as advance:
            written, labels = _write_rows(partial, source, rows, _told(batches, advance))
        for role, found in labels.items():
            np.save(partial / f"{role}.npy", kept_labels(found, role, source))
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return written


def _write_rows(folder: Path, source: str, rows: int, batches: Batches) -> tuple[int, dict[str, Array]]:
    """Write inputs and targets; returns how many rows there were, and their labels by role."""
    labels: dict[str, list[Array]] = {}
    writers: dict[str, NpyWriter] = {}
    with ExitStack() as stack:
        for batch in batches:
            for role, part in batch.items():
                if role not in VECTORS and (role != "negatives" or part.ndim < 3):
                    labels.setdefault(role, []).append(part)
                    continue
                if role not in writers:
                    stream = stack.enter_context((folder / f"{role}.npy").open("wb"))
                    writers[role] = NpyWriter(stream, f"{source}: {role}", rows)
                writers[role].append(part)
        if not writers:
            raise UserError(f"{source}: inputs has no rows")
        for writer in writers.values():
            writer.close()
    return writers["inputs"].rows, {role: _joined(role, parts) for role, parts in labels.items()}


def _joined(role: str, parts: Sequence[Array]) -> Array:
    return np.concatenate(parts, dtype=reduce(partial(common_type, role), (part.dtype for part in parts)))


def _told(batches: Batches, advance: Callable[[int], None]) -> Batches:
    for batch in batches:
        yield batch
        advance(len(batch["inputs"]))


def _opened(sources: Sequence[str], names: ColumnNames) -> tuple[str, int, Batches]:
    """Where the data is, at most how many rows, and these in batches by role."""
    shards = _shards(sources)
    if shards is None:
        found = find_arrays(sources[0], names)
        _check_forms(found.arrays, found.source)
        return found.source, len(found.arrays["inputs"]), _in_pieces(found.arrays)
    check_needed(shards.names, names, ROLES, shards.source)
    return shards.source, sum(table.rows for table in shards.tables), _of_right_forms(shards, names)


def _of_right_forms(shards: Shards, names: ColumnNames) -> Batches:
    for batch in shards.batches(names.wanted()):
        _check_forms(batch, shards.source)
        yield batch


def _check_forms(arrays: Mapping[str, Rows], source: str) -> None:
    """Refuse arrays of unequal rows, of which a part would be left out, and types that the folder can not hold."""
    inputs, targets = arrays["inputs"], arrays["targets"]
    check_forms(inputs, targets, source)
    for role, array in arrays.items():
        if role == "negatives":
            check_negatives(array, targets, source)
        elif role not in VECTORS and array.shape != (len(inputs),):
            raise UserError(f"{source}: {role} has shape {array.shape}; expected ({len(inputs)},){another(role)}")


def _shards(sources: Sequence[str]) -> Shards | None:
    """The files of rows that are meant; None where it is something else."""
    if len(sources) > 1:
        return these([Path(source) for source in sources])
    path = Path(sources[0])
    if path.is_dir():
        return None if any(path.glob("*.npy")) else in_folder(path.resolve())
    if path.is_file():
        return in_file(path) if path.suffix.lower() in TABLES else None
    return matching(sources[0]) if is_pattern(sources[0]) else None


def _in_pieces(arrays: Mapping[str, Rows]) -> Batches:
    for start, piece in pieces(arrays["inputs"]):
        yield {role: array[start : start + len(piece)] for role, array in arrays.items()}


def _written_type(dtype: DType) -> DType:
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.uint8) if dtype == np.uint8 or dtype.kind == "b" else narrow_type(dtype)
