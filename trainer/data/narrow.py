"""Whole numbers kept in as few bytes as they were found in, and given as training takes them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class NarrowArray:
    """Rows (N, …) of whole numbers in memory: an index gives those it names as int64.

    Attributes:
        kept: int8, int16 or int32, in rows one after the other.
    """

    kept: npt.NDArray[np.signedinteger[Any]]
    dtype: ClassVar[np.dtype[np.int64]] = np.dtype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.kept.shape

    @property
    def ndim(self) -> int:
        return self.kept.ndim

    @property
    def size(self) -> int:
        return self.kept.size

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.kept.nbytes

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A copy of the rows at a slice or at row numbers (n,)."""
        return self.kept[rows].astype(np.int64)


def narrow(array: npt.NDArray[np.integer[Any]]) -> NarrowArray | npt.NDArray[np.int64]:
    """Whole numbers as they are kept: in :func:`narrow_type`."""
    rows = np.ascontiguousarray(array, dtype=narrow_type(array.dtype))
    return rows if rows.dtype == np.int64 else NarrowArray(rows)


def narrow_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The narrowest signed type that holds all whole numbers of another: torch can not index most unsigned ones."""
    kind = np.result_type(dtype, np.int8)
    return kind if kind.kind == "i" else np.dtype(np.int64)  # beyond 63 bits NumPy would go on with floats
