"""Tables that Arrow reads, Parquet and its own format: a batch of rows at a time, and only the columns asked for."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.arrow_notes import ArrowNotes
from losstune.trainer.data.arrow_values import embeddings, label_lists, labels
from losstune.trainer.data.guards import bounded
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import WITHOUT_NULLS
from losstune.trainer.data.table import LISTS, VECTORS, Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_BYTES = 4 * 1024 * 1024
MOST_ROWS = 16_384
"""A batch has about so many bytes, and no more rows than this."""
_NULL_LIST = "Expected all lists to be of size"
"""How Arrow 25 fails to read a fixed-size list that is null in Parquet; the place that it names is none of a row."""


class ParquetTable:
    """A Parquet file; as of :class:`~losstune.trainer.data.table.Table`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size
        with bounded(path, self._size):
            file = self._opened()
            self._schema, about = file.schema_arrow, file.metadata
            self._groups = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
            unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            self._notes = ArrowNotes.of(self._schema)
        self.rows = sum(self._groups)
        self.names = (*self._schema.names, *self._notes.ranges)
        self._batch_rows = max(1, min(MOST_ROWS, BATCH_BYTES * self.rows // max(1, unpacked)))

    def batches(
        self, columns: Mapping[str, str], start: int, absent: Collection[str] = ()
    ) -> Iterator[dict[str, Array]]:
        """As of :class:`~losstune.trainer.data.table.Table`."""
        stored = [name for name in columns.values() if name in self._schema.names]
        _check_notes(self._notes, columns, stored, self)
        done = 0
        with bounded(self.path, self._size):
            batches = self._opened().iter_batches(self._batch_rows, columns=stored, use_threads=False)
        while True:
            try:
                with bounded(self.path, self._size):
                    batch = next(batches, None)
                    found = batch and _by_role(batch, columns, self._notes, (self.path, start, done))
            except UserError as error:
                if _NULL_LIST in str(error):
                    self._refuse_null_list(columns, start)
                raise
            if not batch or not found:
                return
            yield found
            done += len(batch)

    def _opened(self) -> "pq.ParquetFile":
        import pyarrow.parquet as pq

        # A stream, because of a path Arrow takes folders named key=value for columns; buffered, because else it reads
        # a whole column of a row group at once. All without threads: where it can not start one, it aborts the process.
        return pq.ParquetFile(self.path.open("rb"), pre_buffer=False, buffer_size=1 << 20)

    def _refuse_null_list(self, columns: Mapping[str, str], start: int) -> None:
        """Find the row that Arrow stumbles over: a row group up to it can be read, and one row more can not."""
        for group, rows in enumerate(self._groups):
            for role, name in columns.items():
                if name in self._schema.names and not self._can_read(name, group, rows):
                    row = bisect_left(range(1, rows + 1), True, key=lambda n: not self._can_read(name, group, n))
                    raise UserError(f"{self.path}: {role} row {start + row} is null{WITHOUT_NULLS.format(role)}")
            start += rows

    def _can_read(self, name: str, group: int, rows: int) -> bool:
        import pyarrow as pa

        try:
            next(self._opened().iter_batches(rows, row_groups=[group], columns=[name], use_threads=False))
        except pa.ArrowInvalid:
            return False
        return True


class ArrowTable:
    """A file of Arrow's, or Feather's, with or without a footer; as of :class:`~losstune.trainer.data.table.Table`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size
        with path.open("rb") as stream:
            self._footer = stream.read(6) == b"ARROW1"
            stream.seek(0)
            if stream.read(4) == b"FEA1":
                raise UserError(f"{path}: Feather of version 1; write it again with version 2, which pandas does")
        with bounded(path, self._size):
            self._schema, batches = self._opened()
            self._notes = ArrowNotes.of(self._schema)
            self.rows = sum(len(batch) for batch in batches)
        self.names = (*self._schema.names, *self._notes.ranges)

    def batches(
        self, columns: Mapping[str, str], start: int, absent: Collection[str] = ()
    ) -> Iterator[dict[str, Array]]:
        """As of :class:`~losstune.trainer.data.table.Table`."""
        stored = [name for name in self._schema.names if name in columns.values()]
        _check_notes(self._notes, columns, stored, self)
        with bounded(self.path, self._size):
            batches = self._opened()[1]
        done = 0
        while True:
            with bounded(self.path, self._size):
                batch = next(batches, None)
                if batch is None:
                    return
                batch = batch.select(stored)
                batch.validate(full=True)  # Arrow believes offsets, wherever they lead
            step = max(1, min(MOST_ROWS, BATCH_BYTES * len(batch) // max(1, batch.nbytes)))
            for first in range(0, len(batch), step):
                piece = batch.slice(first, step)
                with bounded(self.path, self._size):
                    found = _by_role(piece, columns, self._notes, (self.path, start, done))
                yield found
                done += len(piece)

    def _opened(self) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
        import pyarrow as pa

        mapped = pa.memory_map(str(self.path))
        options = pa.ipc.IpcReadOptions(use_threads=False)
        if not self._footer:
            stream = pa.ipc.open_stream(mapped, options=options)
            return stream.schema, iter(stream)
        file = pa.ipc.open_file(mapped, options=options)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _check_notes(notes: ArrowNotes, columns: Mapping[str, str], stored: Collection[str], table: Table) -> None:
    for role, name in columns.items():
        if name not in stored:
            notes.check_rows(name, table.rows, f"{table.path}: {role}")


def _by_role(
    batch: "pa.RecordBatch", columns: Mapping[str, str], notes: ArrowNotes, at: tuple[Path, int, int]
) -> dict[str, Array]:
    """The columns of a batch; ``at`` is the file, the number of its first row, and how many came before the batch."""
    path, start, done = at
    found = {}
    for role, name in columns.items():
        what = f"{path}: {role}"
        if name not in batch.schema.names and name in notes.ranges:
            found[role] = np.array(notes.ranges[name][done : done + len(batch)])
        elif role in VECTORS:
            found[role] = embeddings(batch.column(name), what, start + done)
        elif role in LISTS:
            found[role] = label_lists(batch.column(name), what, start + done)
        else:
            found[role] = notes.named(name, labels(batch.column(name), what, start + done))
    return found
