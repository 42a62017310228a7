"""What is checked of pairs before any training. Rows pass by once, in pieces, so that memory stays bounded."""

import hashlib
from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.units import UNIT_EPS
from losstune.trainer.data.labels import SPLIT_NAMES, split_codes, whole_ids
from losstune.trainer.data.narrow import narrow
from losstune.trainer.data.npy import Array, DType, MappedArray, Rows
from losstune.trainer.data.remedies import FINITE, FLAT, LONG_ENOUGH, ONE_SPLIT, ONE_TARGET, SHORT_ENOUGH, another

PIECE_BYTES = 4 * 1024 * 1024
NUMBERS = "biufc"
"""Kinds of types of which the shape can be what is wrong."""
NONE_ZERO = ", none of them 0"
"""What is expected of the shape of an array that holds nothing."""


def check_forms(inputs: Rows, targets: Rows, source: str) -> None:
    """Refuse inputs or targets of another shape, type or number of rows than pairs have.

    Raises:
        UserError: says which of it, and what is right.
    """
    _check_form_of_targets(targets, source)
    _check_form_of_inputs(inputs, source)
    if len(inputs) != len(targets):
        raise UserError(
            f"{source}: inputs has {len(inputs)} rows, targets has {len(targets)}; they must be equal: "
            f"array[:{min(len(inputs), len(targets))}] of each"
        )


def typed_targets(targets: Rows, source: str) -> Rows:
    """Targets as float32, once their shape and type are right."""
    _check_form_of_targets(targets, source)
    return as_type(targets, np.float32)


def _check_form_of_targets(targets: Rows, source: str) -> None:
    if targets.dtype.kind in NUMBERS and (targets.ndim != 2 or targets.size == 0):
        way_on = FLAT.format("targets") if targets.size else NONE_ZERO
        raise UserError(f"{source}: targets has shape {targets.shape}; expected (rows, dimensions){way_on}")
    if not np.issubdtype(targets.dtype, np.floating):
        raise UserError(
            f"{source}: targets has type {targets.dtype}; expected float{_way_on('targets', targets.dtype)}"
        )


def typed_inputs(inputs: Rows, source: str) -> Rows:
    """Inputs as float32, uint8 or int64 (in memory as narrow as given), once their shape and type are right."""
    _check_form_of_inputs(inputs, source)
    if np.issubdtype(inputs.dtype, np.floating):
        return as_type(inputs, np.float32)
    if inputs.dtype == np.uint8 or inputs.dtype == np.bool_:
        return as_type(inputs, np.uint8)
    return _as_whole(inputs)


def _check_form_of_inputs(inputs: Rows, source: str) -> None:
    if inputs.dtype.kind in NUMBERS and (inputs.ndim < 2 or inputs.size == 0):
        way_on = FLAT.format("inputs") if inputs.size else NONE_ZERO
        raise UserError(f"{source}: inputs has shape {inputs.shape}; expected (rows, …) with at least 2 axes{way_on}")
    if inputs.dtype.kind not in "biuf":
        raise UserError(
            f"{source}: inputs has type {inputs.dtype}; expected float or integer{_way_on('inputs', inputs.dtype)}"
        )


def _way_on(role: str, dtype: DType) -> str:
    """What such a type usually comes from, and the call that mends it."""
    match dtype.kind:
        case "V" if dtype.names is None:
            return ": as NumPy saves bfloat16 or float8; save tensor.float().numpy()"
        case "O":
            return f": an array of arrays, as of a data frame; save numpy.stack(frame['{role}'])"
        case "i" | "u" | "b":
            return ": of whole numbers; save numpy.float32(array), of bits after numpy.unpackbits"
    return another(role)


def _as_whole(rows: Rows) -> Rows:
    if isinstance(rows, np.ndarray):
        return narrow(rows)
    return rows.astype(np.int64) if isinstance(rows, MappedArray) else rows


def as_type(rows: Rows, dtype: npt.DTypeLike) -> Rows:
    """The rows in another type."""
    if isinstance(rows, MappedArray):
        return rows.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # too large a number becomes infinity, and is refused as that
        return np.ascontiguousarray(rows, dtype=dtype)


def row_bytes(rows: Rows) -> int:
    """Bytes of one row in memory."""
    return rows.dtype.itemsize * prod(rows.shape[1:])


def pieces(rows: Rows) -> Iterator[tuple[int, Array]]:
    """All rows in order, some megabytes at a time, each piece with the number of its first row."""
    step = max(1, PIECE_BYTES // row_bytes(rows))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]


def check_inputs(parts: Iterator[tuple[int, Array]], source: str) -> None:
    """Refuse float inputs that are not finite.

    Raises:
        UserError: naming the first such row.
    """
    bad = _BadRows()
    for start, part in parts:
        if np.issubdtype(part.dtype, np.floating):
            bad.add(start, ~finite(part))
    bad.refuse_non_finite("inputs", source)


def check_targets(parts: Iterator[tuple[int, Array]], source: str, *, identify: bool) -> npt.NDArray[np.int64]:
    """Refuse targets that are not finite, have no direction, or are too long for their lengths to be finite.

    Returns:
        Ids by content, (N,), if they are asked for; else none.

    Raises:
        UserError: naming the first such row.
    """
    non_finite, zero, long = _BadRows(), _BadRows(), _BadRows()
    ids: list[npt.NDArray[np.int64]] = []
    for start, part in parts:
        non_finite.add(start, ~finite(part))
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(part, axis=1)
            zero.add(start, lengths <= UNIT_EPS)
            long.add(start, np.isinf(lengths))
        if identify:
            ids.append(ids_by_content(part))
    non_finite.refuse_non_finite("targets", source)
    if zero.count:
        raise UserError(
            f"{source}: targets row {zero.first} is all zeros, or nearly ({zero.count} such rows); "
            f"a target needs a direction{LONG_ENOUGH}"
        )
    if long.count:
        raise UserError(
            f"{source}: targets row {long.first} has a length beyond float32 ({long.count} such rows); "
            f"a target needs a direction{SHORT_ENOUGH.format('targets')}"
        )
    return np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)


class _BadRows:
    """Rows that something is wrong with: how many, and which is the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first = -1

    def add(self, start: int, bad: Array) -> None:
        """Take in the next rows, the first of which has number ``start``."""
        rows = np.flatnonzero(bad)
        if len(rows) and not self.count:
            self.first = start + int(rows[0])
        self.count += len(rows)

    def refuse_non_finite(self, name: str, source: str) -> None:
        if self.count:
            raise UserError(
                f"{source}: {name} row {self.first} holds NaN, infinity or a number beyond float32 "
                f"({self.count} such rows){FINITE.format(name)}"
            )


def finite(rows: Array) -> Array:
    """(n,) bool: whether all numbers of a row (n, …) are."""
    return np.asarray(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))


def ids_by_content(targets: Array) -> npt.NDArray[np.int64]:
    """Equal target rows get equal ids, wherever they stand: a 64-bit hash of the row (−0 counts as 0)."""
    rows = targets + np.float32(0)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def checked_ids(ids: Array, targets: Rows, source: str) -> npt.NDArray[np.int64]:
    """Ids of any kind as int64, if rows that share one share the target, up to rounding."""
    result = whole_ids(ids, len(targets), source)
    _, first, inverse = np.unique(result, return_index=True, return_inverse=True)
    others = first[inverse]
    repeated = np.flatnonzero(others != np.arange(len(result)))
    step = max(1, PIECE_BYTES // row_bytes(targets))
    for start in range(0, len(repeated), step):
        rows = repeated[start : start + step]
        representative = targets[others[rows]]
        apart = np.abs(targets[rows] - representative).max(axis=1) > 1e-3 * np.abs(representative).max(axis=1)
        if apart.any():
            row = rows[apart.argmax()]
            raise UserError(
                f"{source}: ids rows {others[row]} and {row} are both {ids[row]}, but their targets differ; "
                f"an id is the identity of one target{ONE_TARGET}"
            )
    return result


def checked_split(split: Array, ids: npt.NDArray[np.int64], source: str) -> npt.NDArray[np.int8]:
    """The split of each row as an index into ``SPLIT_NAMES``, if no target is in two."""
    if split.shape != ids.shape:
        raise UserError(f"{source}: split has shape {split.shape}; expected ({len(ids)},){another('split')}")
    result = split_codes(split, source)
    refuse_divided(result, ids, f"{source}: split", "share a target", ONE_SPLIT)
    return result


def refuse_divided(codes: npt.NDArray[np.int8], labels: npt.NDArray[np.int64], where: str, bond: str, way: str) -> None:
    """Refuse splits (N,) that rows of one label (N,) are not all in.

    Args:
        bond: what rows of one label do.
        way: what is right, or how to go on.
    """
    for own, other in ((labels[codes == 2], labels[codes != 2]), (labels[codes == 1], labels[codes == 0])):
        if len(shared := np.intersect1d(own, other)):
            rows = np.flatnonzero(labels == shared[0])
            pair = next((a, b) for a in rows for b in rows if codes[a] != codes[b])
            raise UserError(
                f"{where} puts rows {pair[0]} and {pair[1]}, which {bond}, into "
                f"{SPLIT_NAMES[codes[pair[0]]]} and {SPLIT_NAMES[codes[pair[1]]]}; {way}"
            )
