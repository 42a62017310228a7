"""Rows that are equal or nearly so, found while they pass by once: what leaks from one split into another.

Equal rows share a key, a hash of their bytes. Nearly equal ones are looked for among rows that share a cell of a grid
over a few random projections (Charikar, 2002; Datar et al., 2004), laid twice, half a cell apart. What is found is then
measured on the rows themselves, so nothing is told that does not hold; some pairs are missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.units import UNIT_EPS
from losstune.trainer.data.npy import Array, Rows

NEAR = 0.03
"""Rows are nearly equal at this share of the root-mean-square distance between two rows, or under it.

Each column is scaled to deviation 1 first. Where data lie densely, as points on a line or patches of a sky do, many
rows are as near and none is a copy: so near pairs count only if most of them are nearer than half of that.
"""
FEWEST = 4
"""Columns that differ; rows of fewer lie near one another without being copies."""
SAME_DIRECTION = 1e-6
"""One minus the cosine, up to which directions are equal: float32 keeps seven digits."""
PROJECTIONS, CELL = 8, 0.25
"""Directions of the grid, and the width of its cells as a share of the same distance."""
SAMPLE = 2048
"""Rows from which deviations and distances are estimated."""
MOST_PAIRS = 200_000
"""Pairs that are measured; of more, so many are drawn evenly."""
NUMBERS_AT_ONCE = 2**20
"""Of rows that are looked at again, beside those that pass by."""
_LAGS = 4
"""Rows of one cell are compared with so many that follow."""

_SEED = 20
Labels = npt.NDArray[np.int64]
RowPairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Likeness:
    """What rows of an array have in common.

    Attributes:
        equal: (N,) for each row the first one that equals it; None where all differ.
        near: (P, 2) rows that are nearly equal, and not equal.
        one_direction: (P, 2) rows of one direction that are not equal.
        constant_columns: how many have one value in all rows, of ``columns``.
        constant_rows: how many rows hold one number only, repeated.
    """

    equal: Labels | None
    near: RowPairs
    one_direction: RowPairs
    constant_columns: int
    columns: int
    constant_rows: int


class Sketch:
    """Takes in an array's rows piece by piece, and tells their likeness in the end."""

    def __init__(self, rows: Rows, *, directions: bool = False) -> None:
        """Look at a sample of the rows (N, …).

        Args:
            directions: rows count as their directions, as targets do, of which none may be zero.
        """
        self._rows, self._directions = rows, directions
        self._width = prod(rows.shape[1:])
        self._first = rows[:1].reshape(-1)
        self._still = np.arange(self._width)
        self._weights = _weights(self._width * max(1, rows.dtype.itemsize // 4))
        with _quiet():
            # Whole numbers of 64 bits are words or classes, which have no distance.
            self._grid = None if rows.dtype == np.int64 else _Grid.of(self._sample())
        self._keys: list[Array] = []
        self._cells: list[Array] = []
        self._constant_rows = 0

    def add(self, piece: Array) -> None:
        """The next rows (n, …); what is not finite is for others to refuse."""
        flat = piece.reshape(len(piece), -1)
        self._keys.append(_keys(flat, self._weights))
        if self._grid is not None:
            with _quiet():
                self._cells.append(self._grid.cells(flat, self._lengths(flat) if self._directions else None))
        self._still = self._still[(flat[:, self._still] == self._first[self._still]).all(axis=0)]
        if self._width > 1:
            few = np.flatnonzero(flat[:, 0] == flat[:, -1])
            self._constant_rows += int((flat[few] == flat[few, :1]).all(axis=1).sum())

    def likeness(self) -> Likeness:
        """Of all rows that were added."""
        equal = _equal(np.concatenate(self._keys))
        distinct = np.arange(len(self._rows)) if equal is None else np.unique(equal)
        near = one_direction = np.empty((0, 2), np.int64)
        if self._grid is not None and len(distinct) > 1:
            near, one_direction = self._measured(distinct[_candidates(np.concatenate(self._cells)[distinct])])
        return Likeness(equal, near, one_direction, len(self._still), self._width, self._constant_rows)

    def _measured(self, pairs: RowPairs) -> tuple[RowPairs, RowPairs]:
        """Those of some pairs of rows that are near, and those of one direction."""
        assert self._grid is not None
        apart, turned = np.empty(len(pairs)), np.ones(len(pairs))
        for part in self._parts(len(pairs)):
            left, right = (self._seen(self._read(side)) for side in pairs[part].T)
            apart[part] = self._grid.distances(left, right)
            if self._directions:
                turned[part] = 1 - np.einsum("ij,ij->i", left, right)
        same = turned <= SAME_DIRECTION
        near = (apart <= NEAR) & ~same
        copies = (apart <= NEAR / 2) & ~same
        return pairs[near if copies.sum() > 0.6 * near.sum() else copies[:0]], pairs[same]

    def _sample(self) -> Iterator[Array]:
        """Some rows, evenly spaced, a part at a time: those of images would take many times a small folder's size."""
        picked = np.arange(0, len(self._rows), max(1, len(self._rows) // SAMPLE))
        for part in self._parts(len(picked)):
            yield self._seen(self._rows[picked[part]].reshape(-1, self._width))

    def _parts(self, count: int) -> Iterator[slice]:
        """So many rows, some at a time."""
        step = max(1, NUMBERS_AT_ONCE // self._width)
        return (slice(start, start + step) for start in range(0, count, step))

    def _read(self, rows: Labels) -> Array:
        order = np.argsort(rows)  # neighbours on disk are read together
        result = np.empty((len(rows), self._width), self._rows.dtype)
        result[order] = self._rows[rows[order]].reshape(len(rows), -1)
        return result

    def _seen(self, flat: Array) -> Array:
        """Rows as their distances are taken: directions at length one."""
        return np.asarray(flat / self._lengths(flat)[:, None]) if self._directions else flat

    def _lengths(self, flat: Array) -> Array:
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", flat, flat)).clip(UNIT_EPS))


@dataclass(frozen=True)
class _Grid:
    """Cells over projections of rows, and the scale that rows are measured in.

    Attributes:
        scale: (d,) what each column is multiplied by, so that two rows are at distance 1 in the root mean square.
        projection: (d, PROJECTIONS), which gives places in units of a cell.
    """

    scale: Array
    projection: Array

    @classmethod
    def of(cls, sample: Iterator[Array]) -> "_Grid | None":
        """From parts of some rows (n, d) each; None where these have few columns, or are no numbers."""
        deviation, largest = _spread(sample)
        moves = deviation > 1e-6 * (largest + UNIT_EPS)
        if moves.sum() < FEWEST or not np.isfinite(deviation).all():
            return None
        scale = np.zeros(len(deviation))
        scale[moves] = 1 / (deviation[moves] * np.sqrt(2 * moves.sum()))
        directions = np.random.default_rng(_SEED).normal(size=(len(scale), PROJECTIONS))
        return cls(scale.astype(np.float32), (directions * scale[:, None] / CELL).astype(np.float32))

    def cells(self, flat: Array, lengths: Array | None) -> Array:
        """(n, 2) uint64: the cell of each row (n, d) in both layings."""
        places = flat.astype(np.float32, copy=False) @ self.projection
        if lengths is not None:
            places /= lengths[:, None]
        laid = (np.floor(places + np.float32(shift)).astype(np.int64) for shift in (0, 0.5))
        return np.stack([cell.view(np.uint64) @ _weights(PROJECTIONS) for cell in laid], axis=1)

    def distances(self, left: Array, right: Array) -> Array:
        """(n,) between rows of both (n, d), as shares of the usual distance."""
        return np.asarray(np.linalg.norm((left - right.astype(np.float32)) * self.scale, axis=1))


def _spread(parts: Iterator[Array]) -> tuple[Array, Array]:
    """Of each column the standard deviation and the largest size, over all rows of some parts (n, d) of them."""
    count, mean, squares, largest = 0, np.zeros(()), np.zeros(()), np.zeros(())
    for part in parts:
        own = part.mean(axis=0, dtype=np.float64)
        apart, more = own - mean, len(part) / (count + len(part))
        squares = squares + np.square(part - own).sum(axis=0) + np.square(apart) * count * more
        mean, count = mean + apart * more, count + len(part)
        largest = np.maximum(largest, np.abs(part).max(axis=0))
    return np.sqrt(squares / count), largest


def joined(count: int, pairs: RowPairs, equal: Labels | None = None) -> Labels:
    """(count,) labels of rows of which some belong together: a row has the same as those that it is linked to.

    Args:
        pairs: (P, 2) rows that belong together.
        equal: (count,) for each row another that it belongs to.
    """
    from scipy.sparse import coo_array  # a third of a second, for which others would wait
    from scipy.sparse.csgraph import connected_components

    links = pairs if equal is None else np.concatenate([pairs, np.stack([np.arange(count), equal], axis=1)])
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def first_of(labels: Array) -> Labels:
    """For each label (N,) the first row that has it."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], dtype=np.int64)


def _keys(flat: Array, weights: Array) -> Array:
    """(n,) uint64: a hash of each row's bytes (multilinear; −0 counts as 0)."""
    if flat.dtype == np.uint8:
        words = flat.astype(np.uint32)
    else:
        words = (flat + np.float32(0) if flat.dtype == np.float32 else np.ascontiguousarray(flat)).view(np.uint32)
    # Round numbers differ in their high bits alone, which a product loses: these come down first.
    return np.asarray(np.einsum("ij,j->i", words ^ (words >> np.uint32(15)), weights))


def _equal(keys: Array) -> Labels | None:
    """For each key the first place of its like; None where all differ."""
    in_order = np.sort(keys)
    if not (in_order[1:] == in_order[:-1]).any():
        return None
    return first_of(keys)


def _candidates(cells: Array) -> RowPairs:
    """(P, 2) rows, left before right, that share a cell (M, 2) of either laying."""
    found = []
    for own in cells.T:
        order = np.argsort(own, kind="stable")
        own = own[order]
        near = [
            np.stack([order[:-lag][alike], order[lag:][alike]], axis=1)
            for lag in range(1, min(_LAGS, len(own) - 1) + 1)
            if len(alike := np.flatnonzero(own[lag:] == own[:-lag]))
        ]
        pairs = np.concatenate(near) if near else np.empty((0, 2), np.int64)
        found.append(pairs[:: max(1, 2 * len(pairs) // MOST_PAIRS)])
    return np.unique(np.concatenate(found), axis=0)


def _weights(count: int) -> Array:
    """Odd numbers of 64 bits, always the same."""
    return np.random.default_rng(_SEED).integers(0, 2**64, count, np.uint64) | np.uint64(1)


def _quiet() -> np.errstate:
    return np.errstate(all="ignore")
