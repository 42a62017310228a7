"""Rows as tensors: on the device for the whole run, or on disk, from where they are brought as they are used."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losstune.trainer.data.narrow import NarrowArray
from losstune.trainer.data.npy import MappedArray, Rows

ROWS_AT_ONCE = 4096
BYTES_AT_ONCE = 64 * 1024 * 1024
"""Rows are gathered, and added up, so many at a time, or fewer where these take more bytes than this."""


class Column(Protocol):
    """(N, …) rows for one device. A tensor is one; the names and arguments are a tensor's."""

    @property
    def shape(self) -> torch.Size: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def __len__(self) -> int: ...
    def index_select(self, dim: int, index: Tensor) -> Tensor: ...
    def split(self, split_size: int) -> Iterator[Tensor] | tuple[Tensor, ...]: ...


@dataclass(frozen=True)
class MappedColumn:
    """Some rows of an array that stays on disk; what is read comes out on the device.

    Attributes:
        rows: (N,) their numbers in the array.
    """

    array: MappedArray
    rows: npt.NDArray[np.int64]
    device: torch.device

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), *self.array.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        return torch.from_numpy(np.empty(0, self.array.dtype)).dtype

    def __len__(self) -> int:
        return len(self.rows)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The rows at ``index`` (n,), in that order; ``dim`` is 0."""
        if dim != 0:
            raise ValueError(f"rows are selected along dimension 0, not {dim}")
        return self._read(self.rows[index.cpu().numpy()])

    def split(self, split_size: int) -> Iterator[Tensor]:
        """All rows in order, in pieces."""
        for start in range(0, len(self.rows), split_size):
            yield self._read(self.rows[start : start + split_size])

    def _read(self, rows: npt.NDArray[np.int64]) -> Tensor:
        order = np.argsort(rows)  # neighbours on disk are read together
        found = self.array[rows[order]]
        result = np.empty_like(found)
        result[order] = found
        tensor = torch.from_numpy(result)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


@dataclass(frozen=True)
class NarrowColumn:
    """Whole numbers that the device holds in fewer bytes, and that come out as int64.

    Attributes:
        kept: (N, …) int8, int16 or int32.
    """

    kept: Tensor

    @property
    def shape(self) -> torch.Size:
        return self.kept.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.int64

    @property
    def device(self) -> torch.device:
        return self.kept.device

    def __len__(self) -> int:
        return len(self.kept)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """As of a tensor."""
        return self.kept.index_select(dim, index).long()

    def split(self, split_size: int) -> Iterator[Tensor]:
        """All rows in order, in pieces."""
        return (part.long() for part in self.kept.split(split_size))


def column(rows: Rows, chosen: npt.NDArray[np.int64], device: torch.device) -> Column:
    """Some rows for a device: copied there if they are in memory, else left where they are."""
    if isinstance(rows, MappedArray):
        return MappedColumn(rows, chosen, device)
    if isinstance(rows, NarrowArray):
        return NarrowColumn(torch.from_numpy(rows.kept[chosen]).to(device))
    return torch.from_numpy(rows[chosen]).to(device)


def whole_column(rows: Rows) -> Column:
    """All rows, for the CPU."""
    if isinstance(rows, MappedArray):
        return MappedColumn(rows, np.arange(len(rows)), torch.device("cpu"))
    if isinstance(rows, NarrowArray):
        return NarrowColumn(torch.from_numpy(rows.kept))
    return torch.from_numpy(rows)


def rows_at_once(rows: Column) -> int:
    """Rows to handle at a time: a few thousand, or fewer if they are large, in float32 at the latest."""
    return max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, max(4, rows.dtype.itemsize) * prod(rows.shape[1:]))))


def mean_of(rows: Column) -> Tensor:
    """Mean over rows (N, …), float64."""
    total = sum(part.sum(dim=0, dtype=torch.float64) for part in rows.split(rows_at_once(rows)))
    assert isinstance(total, Tensor)
    return total / len(rows)


class Moments(NamedTuple):
    """Mean and standard deviation (divided by N) of each number of a row, flattened: (width,) float64 each."""

    mean: Tensor
    deviation: Tensor

    @property
    def scale(self) -> Tensor:
        """What brings each number to deviation 1; one that is constant, beside the others, is left as it is.

        That is at a deviation of 1e-8, or of 1e-4 of the largest one where that is less: then all numbers are small.
        """
        least = (1e-4 * self.deviation.max()).clamp(1e-37, 1e-8)  # under that float32 has no inverse
        return torch.where(self.deviation > least, 1 / self.deviation, 1.0)


def moments_of(rows: Column) -> Moments:
    """Moments over rows (N, …), in float64, from pieces (Chan, Golub and LeVeque, 1979)."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for part in rows.split(rows_at_once(rows)):
        flat = part.flatten(1).double()
        variance, own = torch.var_mean(flat, dim=0, correction=0)
        if count == 0:
            count, mean, squares = len(flat), own, variance * len(flat)
            continue
        apart, share = own - mean, len(flat) / (count + len(flat))
        mean = mean + apart * share
        squares = squares + variance * len(flat) + apart.square() * count * share
        count += len(flat)
    return Moments(mean, (squares / count).sqrt())
