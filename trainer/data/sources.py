"""Where ``--data`` leads: to a name, a file, a folder, a pattern, or a function of the user's."""

import gzip
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from losstune.trainer.base.errors import UserError, one_line, translating
from losstune.trainer.base.references import is_reference, resolve
from losstune.trainer.data.column_names import ROLES, ColumnNames, listed
from losstune.trainer.data.foreign_files import refuse_foreign
from losstune.trainer.data.formats import READERS, Contents, read_folder, read_shards
from losstune.trainer.data.npy import Array, Rows
from losstune.trainer.data.remedies import PADDED, UNMASKED
from losstune.trainer.data.shards import is_pattern, matching
from losstune.trainer.data.table import VECTORS

DIGITS = "digits"
"""The data that is always there: scikit-learn's."""
IN_MEMORY = "arrays in memory"
"""Where such pairs come from, for messages."""

Source = str | os.PathLike[str] | Mapping[str, Any]
"""Where pairs come from, or the arrays themselves by name: ``inputs``, ``targets``, and the other roles if you like."""


@dataclass(frozen=True)
class Found:
    """Arrays by role as they were found, unchecked.

    Attributes:
        source: where, for messages and for a study to keep; files and folders as absolute paths.
        unused: names of what else is there.
    """

    source: str
    arrays: Mapping[str, Rows]
    unused: tuple[str, ...]


def find_arrays(source: Source, names: ColumnNames, roles: tuple[str, ...] = ROLES) -> Found:
    """What a source holds of the columns that are wanted.

    Raises:
        UserError: there is no such source, it can not be read, or a name that was said is not in it.
    """
    columns = names.wanted(roles)
    if isinstance(source, Mapping):
        contents, where = _chosen(source, columns, "--data: expected arrays"), IN_MEMORY
    else:
        with looking_at(source := _path_of(source)):
            contents, where = _contents(source, columns)
    check_needed(contents.names, names, roles, where)
    return Found(where, contents.arrays, names.unused(contents.names, roles))


def looking_at(source: str) -> AbstractContextManager[None]:
    """A block that looks for what ``--data`` says: a path that the system refuses is a mistake in that."""
    return translating(OSError, lambda error: UserError(f"--data {source}: {one_line(error)}"))


def check_needed(found: Sequence[str], names: ColumnNames, roles: Sequence[str], source: str) -> None:
    """Refuse data without inputs or targets, or without a column that was said.

    Args:
        found: names of all its columns.
        names, roles: what is wanted.

    Raises:
        UserError: says which, what there is, and how another name is said.
    """
    names.check(found, roles, source)
    for role, name in names.wanted(roles).items():
        if role in VECTORS and name not in found:
            other = f"; if it has another name: --columns {role}=NAME" if found else ""
            raise UserError(f"{source}: no array {role!r}; found {listed(found)}{other}")


def is_there(source: str) -> bool:
    """Whether something is where a source leads, readable or not: ``digits`` always is, a function if it is found."""
    try:
        if source == DIGITS or Path(source).exists():
            return True
        if is_pattern(source):
            matching(source)
        elif is_reference(source):
            resolve(source, "--data")
        else:
            return False
    except (UserError, OSError):
        return False
    return True


def _path_of(source: object) -> str:
    """Of a program anything may come: a data frame, or two arrays in a tuple."""
    if not isinstance(source, str | os.PathLike):
        raise UserError(
            f"--data: found a {type(source).__name__}; expected a dict of arrays by name, inputs and targets, or "
            f"{DIGITS}, a path, or package.module:function"
        )
    return os.fspath(source)


def _contents(source: str, columns: Mapping[str, str]) -> tuple[Contents, str]:
    if source == DIGITS:
        return _chosen(_digits(), columns, source), source
    path = Path(source)
    if source and path.is_dir():
        refuse_foreign(source)
        return read_folder(path.resolve(), columns), str(path.resolve())
    if is_pattern(source) and not path.exists():
        shards = matching(source)
        return read_shards(shards, columns), shards.source
    if reader := READERS.get(path.suffix.lower()):
        if not path.is_file():
            raise UserError(f"--data {source}: no such file")
        return reader(path, columns), str(path.resolve())
    if is_reference(source):
        return _chosen(_from_function(source), columns, f"--data {source}: expected a dict of arrays"), source
    refuse_foreign(source)
    if path.is_absolute() and not path.exists():
        raise UserError(f"--data {source}: no such file or folder")
    raise UserError(
        f"--data {source!r}: expected digits, a file ending in {', '.join(READERS)}, a folder of .npy files or of "
        "files of rows, a quoted pattern of such files, or package.module:function"
    )


def _chosen(given: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Contents:
    """What is wanted of the arrays that a program or a function has; what else there is may be anything.

    Args:
        where: put before messages, and the array's name after it.
    """
    keys = {str(key): key for key in given}
    arrays: dict[str, Rows] = {
        role: _looked_up(given, keys[name], where) for role, name in columns.items() if name in keys
    }
    return Contents(arrays, tuple(keys))


def _looked_up(given: Mapping[str, Any], key: str, where: str) -> Array:
    with translating(ValueError, lambda error: UserError(f"{where}: {key}: {one_line(error)}")):
        value = given[key]  # an archive that NumPy has opened reads it now, and refuses a pickle
    return as_array(value, f"{where}: {key}")


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


def _from_function(source: str) -> Mapping[str, Any]:
    function, name = resolve(source, "--data"), source.partition(":")[2]
    if not callable(function):
        raise UserError(f"--data {source}: {name} is {type(function).__name__}, not a function")
    try:
        found = function()
    except Exception as error:  # the user's own code, whatever it stumbles over
        raise UserError(f"--data {source}: {name}() failed: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(found, Mapping):
        raise UserError(f"--data {source}: expected a dict of arrays, got {type(found).__name__}")
    return found


def as_array(array: object, where: str) -> Array:
    """A NumPy array of what a program has; a tensor may be on any device, need a gradient, or be bfloat16.

    Raises:
        UserError: it is none; begins with ``where``.
    """
    if isinstance(array, np.ma.MaskedArray) and (masked := np.ma.count_masked(array)):
        raise UserError(f"{where}: {masked:,} of its values are masked{UNMASKED.format(where.rpartition(' ')[2])}")
    torch = sys.modules.get("torch")  # where there is a tensor, it has been imported
    try:
        if torch is not None and isinstance(array, torch.Tensor):
            tensor = array.detach().cpu()
            return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
        return _stacked(np.asarray(array))
    except (TypeError, ValueError, RuntimeError) as error:
        mend = PADDED if "inhomogeneous" in str(error) else ""
        raise UserError(f"{where}: {one_line(error)}{mend}") from None


def _stacked(array: Array) -> Array:
    """Rows that are arrays or lists each, as a column of a data frame holds them, in one array."""
    if array.dtype != object or array.ndim != 1 or len(array) == 0 or isinstance(array[0], str | bytes):
        return array
    rows = np.array([*array])
    return array if rows.dtype == object else rows
