"""Pairs of inputs and targets: where they come from, and what is checked before any training."""

import gzip
import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.data_files import READERS
from trainer.errors import UserError
from trainer.references import is_reference, resolve
from trainer.units import UNIT_EPS

SPLIT_NAMES = ("train", "val", "test")
Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Pairs:
    """N pairs of an input and a fixed target embedding.

    Attributes:
        source: what ``--data`` said, files as absolute paths.
        inputs: (N, …) float32, or integers as given.
        targets: (N, d) float32, finite, no zero row.
        ids: (N,) int64, identity of the target; rows that share one share the target.
        split: (N,) int8 index into ``SPLIT_NAMES`` where the data fixes the split, else None.
        digest: SHA-256 of all of the above but the source, hexadecimal.
    """

    source: str
    inputs: Array
    targets: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int64]
    split: npt.NDArray[np.int8] | None
    digest: str


def load_pairs(source: str) -> Pairs:
    """Load and check pairs from ``digits``, a file, or ``package.module:function``.

    Raises:
        UserError: naming the file, the array and the row, and what is allowed.
    """
    return make_pairs(*_load_arrays(source))


def load_inputs(source: str) -> Array:
    """Only the inputs of ``source``, checked; targets may be absent."""
    arrays, name = _load_arrays(source)
    if "inputs" not in arrays:
        raise UserError(f"{name}: no array 'inputs'; found {', '.join(sorted(arrays)) or 'none'}")
    return _checked_inputs(np.asarray(arrays["inputs"]), name)


def _load_arrays(source: str) -> tuple[Mapping[str, Array], str]:
    if source == "digits":
        return _digits(), source
    path = Path(source)
    if reader := READERS.get(path.suffix):
        if not path.is_file():
            raise UserError(f"--data {source}: no such file")
        return reader(path), str(path.resolve())
    if is_reference(source):
        return _from_function(source), source
    raise UserError(
        f"--data {source!r}: expected digits, a file ending in {', '.join(READERS)}, or package.module:function"
    )


def make_pairs(arrays: Mapping[str, Array], source: str) -> Pairs:
    """Check raw arrays named ``inputs``, ``targets`` and, optionally, ``ids`` and ``split``."""
    allowed = ("inputs", "targets", "ids", "split")
    for name in ("inputs", "targets"):
        if name not in arrays:
            raise UserError(f"{source}: no array {name!r}; found {', '.join(sorted(arrays)) or 'none'}")
    if unknown := sorted(set(arrays) - set(allowed)):
        raise UserError(f"{source}: unknown array {unknown[0]!r}; allowed: {', '.join(allowed)}")
    targets = _checked_targets(np.asarray(arrays["targets"]), source)
    inputs = _checked_inputs(np.asarray(arrays["inputs"]), source)
    if len(inputs) != len(targets):
        raise UserError(f"{source}: inputs has {len(inputs)} rows, targets has {len(targets)}; they must be equal")
    ids = _checked_ids(np.asarray(arrays["ids"]), targets, source) if "ids" in arrays else _ids_by_content(targets)
    split = _checked_split(np.asarray(arrays["split"]), ids, source) if "split" in arrays else None
    return Pairs(source, inputs, targets, ids, split, _digest(inputs, targets, ids, split))


def _digits() -> dict[str, Array]:
    """Scikit-learn's 8×8 digits (1,797 images): left half → right half, grey values scaled to [0, 1].

    Read from its file: importing ``sklearn.datasets`` takes ten times as long as reading it.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.submodule_search_locations is None:
        raise UserError("--data digits: scikit-learn, which brings the digits, is not installed")
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt") as lines:
        pixels = np.loadtxt(lines, delimiter=",", dtype=np.float32)[:, :64]
    images = pixels.reshape(-1, 8, 8) / 16
    return {"inputs": images[:, :, :4].reshape(-1, 32), "targets": images[:, :, 4:].reshape(-1, 32)}


def _from_function(source: str) -> dict[str, Array]:
    function = resolve(source, "--data")
    if not callable(function):
        name = source.partition(":")[2]
        raise UserError(f"--data {source}: {name} is {type(function).__name__}, not a function")
    found = function()
    if not isinstance(found, Mapping):
        raise UserError(f"--data {source}: expected a dict of arrays, got {type(found).__name__}")
    try:
        return {str(name): np.asarray(array) for name, array in found.items()}
    except ValueError as error:
        raise UserError(f"--data {source}: expected a dict of arrays: {error}") from None


def _checked_targets(targets: Array, source: str) -> npt.NDArray[np.float32]:
    if targets.ndim != 2 or targets.size == 0:
        raise UserError(f"{source}: targets has shape {targets.shape}; expected (rows, dimensions)")
    if not np.issubdtype(targets.dtype, np.floating):
        raise UserError(f"{source}: targets has type {targets.dtype}; expected float")
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # too large a number for float32 becomes infinity, and is refused as that
        result = np.ascontiguousarray(targets, dtype=np.float32)
        _refuse_non_finite(result, "targets", source)
        zero = np.flatnonzero(np.linalg.norm(result, axis=1) <= UNIT_EPS)
    if len(zero):
        raise UserError(
            f"{source}: targets row {zero[0]} is all zeros, or nearly ({len(zero)} such rows); "
            "a target needs a direction: remove these rows"
        )
    return result


def _checked_inputs(inputs: Array, source: str) -> Array:
    if inputs.ndim < 2 or inputs.size == 0:
        raise UserError(f"{source}: inputs has shape {inputs.shape}; expected (rows, …) with at least 2 axes")
    if np.issubdtype(inputs.dtype, np.floating):
        with np.errstate(over="ignore", invalid="ignore"):
            result = np.ascontiguousarray(inputs, dtype=np.float32)
        _refuse_non_finite(result, "inputs", source)
        return result
    if inputs.dtype == np.uint8 or inputs.dtype == np.bool_:
        return np.ascontiguousarray(inputs, dtype=np.uint8)
    if np.issubdtype(inputs.dtype, np.integer):
        return np.ascontiguousarray(inputs, dtype=np.int64)
    raise UserError(f"{source}: inputs has type {inputs.dtype}; expected float or integer")


def _refuse_non_finite(array: npt.NDArray[np.float32], name: str, source: str) -> None:
    finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    bad = np.flatnonzero(~finite)
    if len(bad):
        raise UserError(f"{source}: {name} row {bad[0]} holds NaN or infinity ({len(bad)} such rows)")


def _checked_ids(ids: Array, targets: npt.NDArray[np.float32], source: str) -> npt.NDArray[np.int64]:
    if ids.shape != (len(targets),) or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(
            f"{source}: ids has type {ids.dtype} and shape {ids.shape}; expected integers, shape ({len(targets)},)"
        )
    result = ids.astype(np.int64)
    _, first, inverse = np.unique(result, return_index=True, return_inverse=True)
    representative = targets[first[inverse]]
    apart = np.abs(targets - representative).max(axis=1) > 1e-3 * np.abs(representative).max(axis=1)
    rows = np.flatnonzero(apart)
    if len(rows):
        row, other = int(rows[0]), int(first[inverse[rows[0]]])
        raise UserError(
            f"{source}: ids rows {other} and {row} are both {result[row]}, but their targets differ; "
            "an id is the identity of one target"
        )
    return result


def _ids_by_content(targets: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Equal target rows get equal ids, wherever they stand: a 64-bit hash of the row (−0 counts as 0)."""
    rows = targets + np.float32(0)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def _checked_split(split: Array, ids: npt.NDArray[np.int64], source: str) -> npt.NDArray[np.int8]:
    if split.shape != ids.shape:
        raise UserError(f"{source}: split has shape {split.shape}; expected ({len(ids)},)")
    names = _split_texts(split, source)
    result = np.full(len(ids), -1, dtype=np.int8)
    for index, name in enumerate(SPLIT_NAMES):
        result[names == name] = index
    unknown = np.flatnonzero(result < 0)
    if len(unknown):
        row = unknown[0]
        raise UserError(f"{source}: split row {row} is {str(names[row])[:40]!r}; allowed: {', '.join(SPLIT_NAMES)}")
    for test_ids, other in ((ids[result == 2], ids[result != 2]), (ids[result == 1], ids[result == 0])):
        if len(shared := np.intersect1d(test_ids, other)):
            rows = np.flatnonzero(ids == shared[0])
            pair = next((a, b) for a in rows for b in rows if result[a] != result[b])
            raise UserError(
                f"{source}: split puts rows {pair[0]} and {pair[1]}, which share a target, into "
                f"{SPLIT_NAMES[result[pair[0]]]} and {SPLIT_NAMES[result[pair[1]]]}; a target belongs to one split"
            )
    return result


def _split_texts(split: Array, source: str) -> Array:
    match split.dtype.kind:
        case "O":
            return split  # as an array of text each would take the room of the longest
        case "S":
            return np.char.decode(split, "utf-8", "replace")  # type: ignore[arg-type]
        case "U" if split.dtype.itemsize == 0 or _codes(split).max() <= sys.maxunicode:
            return split
        case "i" | "u" | "b":
            return split.astype(str)
    raise UserError(f"{source}: split has type {split.dtype}; expected text: {', '.join(SPLIT_NAMES)}")


def _codes(texts: Array) -> npt.NDArray[np.uint32]:
    """The characters as numbers: a damaged file may hold some that no text has, and that NumPy fails to show."""
    native = np.ascontiguousarray(texts, dtype=texts.dtype.newbyteorder("="))
    return native.view(np.uint32)


def _digest(*arrays: Array | None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
