"""Arrays in ``.npy`` files: headers that are checked before they are believed, and rows that stay on disk."""

import hashlib
import mmap
import platform
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.memory import free_memory
from losstune.trainer.data.narrow import NarrowArray

Array = npt.NDArray[Any]
DType = np.dtype[Any]
RowIndex = slice | npt.NDArray[np.int64]

SAMPLES, SAMPLE_BYTES = 256, 4096
"""A file is recognised by this many pieces of this size, evenly spaced, the first and the last among them."""


class DataNotHereError(UserError):
    """A data file can not be opened where it is needed, or is not the one that was meant."""


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a ``.npy`` file says; the numbers begin at byte ``offset``, row by row."""

    shape: tuple[int, ...]
    dtype: DType
    offset: int
    by_columns: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.dtype.itemsize * prod(self.shape)


def read_npy_header(stream: IO[bytes], size: int, where: str) -> NpyHeader:
    """The header of a ``.npy`` file of ``size`` bytes, read from its start.

    Args:
        where: put before messages: the file and the array.

    Raises:
        UserError: it holds Python objects (a pickle), lies about its size, or has an unknown version.
        ValueError: it is no such file.
    """
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise UserError(f"{where} has an unknown .npy version {version}; save it with numpy.save")
    shape, by_columns, dtype = read_header(stream)
    if dtype.hasobject:
        raise UserError(
            f"{where} holds Python objects (a pickle); only plain numbers are read: "
            "save numpy.stack of rows that are arrays, and text as array.astype(str)"
        )
    header = NpyHeader(shape, dtype, stream.tell(), by_columns)
    if header.nbytes + header.offset != size:
        held = size - header.offset
        raise UserError(f"{where} claims {header.nbytes:,} bytes in its header, but the file holds {held:,}")
    return header


def write_npy_header(stream: IO[bytes], shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Begin a ``.npy`` file; its rows are to follow."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})


@dataclass(frozen=True)
class NpyFile:
    """A ``.npy`` file as it was found: enough to open it somewhere else, and to tell it from another.

    Attributes:
        path: absolute.
        fingerprint: SHA-256 of type, shape and samples of its bytes; not of its time, which a copy does not share.
    """

    path: Path
    header: NpyHeader
    fingerprint: str

    @classmethod
    def found(cls, path: Path, where: str) -> "NpyFile":
        """Look at a file; ``where`` is put before messages.

        Raises:
            UserError: it can not be read as rows of plain numbers.
        """
        if not path.is_file():
            raise UserError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        try:
            with path.open("rb") as stream:
                header = read_npy_header(stream, path.stat().st_size, where)
                if header.by_columns:
                    raise UserError(
                        f"{where} lies on disk column by column (Fortran order), and training reads rows; "
                        "save numpy.ascontiguousarray of it"
                    )
                return cls(path, header, _fingerprint(stream, header))
        except UserError:
            raise
        except Exception as error:  # on damaged bytes NumPy raises whatever it stumbles over
            raise UserError(f"{path}: not a readable .npy file: {one_line(error)}") from None

    def opened(self) -> mmap.mmap:
        """The whole file mapped, read-only.

        Raises:
            DataNotHereError: the file is not there, or is another one than was found.
        """
        try:
            again = NpyFile.found(self.path, str(self.path))
        except UserError as error:
            raise DataNotHereError(f"{error}, on {platform.node()}; every node reads data at the same path") from None
        if again != self:
            raise DataNotHereError(f"{self.path}: on {platform.node()}, not the data that was checked at the start")
        with self.path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _fingerprint(stream: IO[bytes], header: NpyHeader) -> str:
    digest = hashlib.sha256(f"{header.dtype.str}{header.shape}".encode())
    last = max(header.offset, stream.seek(0, 2) - SAMPLE_BYTES)
    for start in np.linspace(header.offset, last, SAMPLES, dtype=np.int64):
        stream.seek(int(start))
        digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


@dataclass(frozen=True)
class MappedArray:
    """Rows (N, …) that stay in a ``.npy`` file: an index reads those it names, in the type that training takes.

    It can be pickled, as a handle: where it comes out, the file is opened, and recognised, when its first row is read.

    Attributes:
        dtype: of the rows that come out; the file may hold another.
    """

    file: NpyFile
    dtype: DType

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.header.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def astype(self, dtype: npt.DTypeLike) -> "MappedArray":
        """The same rows in another type."""
        return MappedArray(self.file, np.dtype(dtype))

    def __getitem__(self, rows: RowIndex) -> Array:
        """A copy of the rows at a slice or at row numbers (n,); these are read fastest in rising order."""
        self._advise(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # too large for the type becomes infinity
            return self._rows[rows].astype(self.dtype, copy=isinstance(rows, slice))

    def whole(self) -> Array:
        """A copy of all rows, or of the one number of an array without rows."""
        return np.array(self._rows, dtype=self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "dtype": self.dtype}

    @cached_property
    def _map(self) -> mmap.mmap:
        return self.file.opened()

    @cached_property
    def _rows(self) -> Array:
        header = self.file.header
        return np.ndarray(header.shape, header.dtype, buffer=self._map, offset=header.offset)

    @cached_property
    def _fits_memory(self) -> bool:
        return self.file.header.nbytes < free_memory()

    def _advise(self, rows: RowIndex) -> None:
        """Where the file can not stay in memory, reading around a lone row costs many times the row."""
        if not self._fits_memory:
            near = isinstance(rows, slice) or len(rows) == 0 or rows[-1] - rows[0] < 4 * len(rows)
            self._map.madvise(mmap.MADV_SEQUENTIAL if near else mmap.MADV_RANDOM)


Rows = Array | NarrowArray | MappedArray
"""(N, …) rows in memory or on disk; all are indexed alike."""
