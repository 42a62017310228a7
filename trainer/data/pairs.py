"""Pairs of inputs and targets: where they come from, and what they are once they are checked."""

import gzip
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.references import is_reference, resolve
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.data.formats import READERS, read_folder
from losstune.trainer.data.npy import Array
from losstune.trainer.data.pair_checks import (
    Rows,
    check_inputs,
    check_targets,
    checked_ids,
    checked_split,
    pieces,
    row_bytes,
    typed_inputs,
    typed_targets,
)

DIGITS = "digits"
"""The data that is always there: scikit-learn's."""


IN_MEMORY = "arrays in memory"
"""Where such pairs come from, for messages."""

Source = str | os.PathLike[str] | Mapping[str, Any]
"""Where pairs come from, or the arrays themselves, by name: ``inputs``, ``targets``, ``ids``, ``split``."""


@dataclass(frozen=True)
class Pairs:
    """N pairs of an input and a fixed target embedding.

    Inputs and targets are arrays in memory, or stay on disk and are read by index; pickled, those are handles.

    Attributes:
        source: what ``--data`` said, files as absolute paths.
        inputs: (N, …) float32, or integers as given.
        targets: (N, d) float32, finite, no zero row.
        ids: (N,) int64, identity of the target; rows that share one share the target.
        split: (N,) int8 index into ``SPLIT_NAMES`` where the data fixes the split, else None.
        digest: SHA-256 of all of the above but the source, hexadecimal; the same wherever inputs and targets lie.
    """

    source: str
    inputs: Rows
    targets: Rows
    ids: npt.NDArray[np.int64]
    split: npt.NDArray[np.int8] | None
    digest: str

    @property
    def bytes_in_memory(self) -> int:
        """What a copy of these pairs takes: arrays that stay on disk take nothing."""
        arrays = (self.inputs, self.targets, self.ids, self.split)
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def load_pairs(source: Source) -> Pairs:
    """Load and check pairs from ``digits``, a file, a folder, ``package.module:function``, or arrays by name.

    A check of more than two seconds shows how far it is, on a terminal.

    Raises:
        UserError: naming the file, the array and the row, and what is allowed.
    """
    if isinstance(source, Mapping):
        return make_pairs(raw_arrays(source), IN_MEMORY)
    return make_pairs(*_load_arrays(os.fspath(source)))


def raw_arrays(given: Mapping[str, Any]) -> dict[str, Array]:
    """NumPy arrays of what a program or a function of the user's has: tensors, lists and columns too.

    Raises:
        UserError: one is no array.
    """
    return {str(name): _as_array(array, f"--data: expected arrays: {name}") for name, array in given.items()}


def load_inputs(source: str) -> Rows:
    """Only the inputs of ``source``, checked; targets may be absent."""
    arrays, name = _load_arrays(source)
    if "inputs" not in arrays:
        raise UserError(f"{name}: no array 'inputs'; found {', '.join(sorted(arrays)) or 'none'}")
    inputs = typed_inputs(arrays["inputs"], name)
    with shown_if_long(f"Checking {name}", len(inputs)) as advance:
        check_inputs(_passing(inputs, lambda piece: advance(len(piece))), name)
    return inputs


def _load_arrays(source: str) -> tuple[Mapping[str, Rows], str]:
    if source == DIGITS:
        return _digits(), source
    path = Path(source)
    if reader := READERS.get(path.suffix):
        if not path.is_file():
            raise UserError(f"--data {source}: no such file")
        return reader(path), str(path.resolve())
    if source and path.is_dir():
        return read_folder(path.resolve()), str(path.resolve())
    if is_reference(source):
        return _from_function(source), source
    raise UserError(
        f"--data {source!r}: expected digits, a file ending in {', '.join(READERS)}, a folder of .npy files, "
        "or package.module:function"
    )


def make_pairs(arrays: Mapping[str, Rows], source: str) -> Pairs:
    """Check raw arrays named ``inputs``, ``targets`` and, optionally, ``ids`` and ``split``."""
    _check_names(arrays, source)
    targets, inputs = typed_targets(arrays["targets"], source), typed_inputs(arrays["inputs"], source)
    if len(inputs) != len(targets):
        raise UserError(f"{source}: inputs has {len(inputs)} rows, targets has {len(targets)}; they must be equal")
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


def _check_names(arrays: Mapping[str, Rows], source: str) -> None:
    allowed = ("inputs", "targets", "ids", "split")
    for name in ("inputs", "targets"):
        if name not in arrays:
            raise UserError(f"{source}: no array {name!r}; found {', '.join(sorted(arrays)) or 'none'}")
    if unknown := sorted(set(arrays) - set(allowed)):
        raise UserError(f"{source}: unknown array {unknown[0]!r}; allowed: {', '.join(allowed)}")


def _begin(digest: "hashlib._Hash", array: Rows) -> None:
    digest.update(f"{array.dtype}{array.shape}".encode())


def _passing(rows: Rows, passed: Callable[[Array], None]) -> Iterator[tuple[int, Array]]:
    """All rows in pieces, each handed to ``passed`` as well."""
    for start, piece in pieces(rows):
        passed(piece)
        yield start, piece


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
    function, name = resolve(source, "--data"), source.partition(":")[2]
    if not callable(function):
        raise UserError(f"--data {source}: {name} is {type(function).__name__}, not a function")
    try:
        found = function()
    except Exception as error:  # the user's own code, whatever it stumbles over
        raise UserError(f"--data {source}: {name}() failed: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(found, Mapping):
        raise UserError(f"--data {source}: expected a dict of arrays, got {type(found).__name__}")
    where = f"--data {source}: expected a dict of arrays"
    return {str(name): _as_array(array, f"{where}: {name}") for name, array in found.items()}


def _as_array(array: object, where: str) -> Array:
    """A NumPy array of what a function returned; a tensor may be on any device, need a gradient, or be bfloat16."""
    torch = sys.modules.get("torch")  # where there is a tensor, it has been imported
    try:
        if torch is not None and isinstance(array, torch.Tensor):
            tensor = array.detach().cpu()
            return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: {one_line(error)}") from None
