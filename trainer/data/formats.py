"""Readers of data: the arrays of a file or a folder, by role. None runs code from a file."""

import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.memory import free_memory
from losstune.trainer.data.guards import check_size, readable
from losstune.trainer.data.npy import MappedArray, NpyFile, NpyHeader, Rows, read_npy_header
from losstune.trainer.data.shards import Shards, in_file, in_folder
from losstune.trainer.data.table import LISTS, gathered
from losstune.trainer.data.table_files import TABLES

BYTES_PER_ROW, ROWS_AT_ONCE = 160, 64
"""What memory must hold of an array that stays on disk: ids, splits, keys and row numbers, and some rows."""


class Contents(NamedTuple):
    """What a reader found: arrays by role, those of the columns asked for that are there; and all columns' names."""

    arrays: dict[str, Rows]
    names: tuple[str, ...]


def read_npz(path: Path, columns: Mapping[str, str]) -> Contents:
    """Arrays of a ``.npz`` archive. Pickled arrays are refused; so are headers that lie about their size."""
    with readable(path), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        wanted = {role: members[name] for role, name in columns.items() if name in members}
        for member in wanted.values():
            _check_member(archive, member, path)
        check_size(path, sum(member.file_size for member in wanted.values()))
        arrays: dict[str, Rows] = {}
        for role, member in wanted.items():
            with archive.open(member) as content:
                arrays[role] = np.lib.format.read_array(content, allow_pickle=False)
        return Contents(arrays, tuple(members))


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    where = f"{path}: array {member.filename.removesuffix('.npy')!r}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{where} is compressed in a way that NumPy does not write; save it with numpy.savez_compressed"
        )
    with archive.open(member) as stream:
        read_npy_header(stream, member.file_size, where)


def read_safetensors(path: Path, columns: Mapping[str, str]) -> Contents:
    """Arrays of a ``.safetensors`` file; all floating types come as float32."""
    from safetensors import safe_open

    with readable(path):
        check_size(path, path.stat().st_size)
        with safe_open(path, "pt") as file:
            names = tuple(file.keys())
            tensors = {role: file.get_tensor(name) for role, name in columns.items() if name in names}
        arrays = {
            role: (tensor.float() if tensor.is_floating_point() else tensor).numpy() for role, tensor in tensors.items()
        }
    return Contents(arrays, names)


def read_table(path: Path, columns: Mapping[str, str]) -> Contents:
    """Columns of a file of rows: Parquet, Arrow or JSON lines."""
    return read_shards(in_file(path), columns)


def read_shards(shards: Shards, columns: Mapping[str, str]) -> Contents:
    """Columns of files of rows, one after the other."""
    stored = shards.stored(columns)
    arrays = gathered(shards.tables, shards.batches(columns)) if stored else {}
    for role in stored:
        if role not in arrays:
            raise UserError(f"{shards.source}: {role} has no rows")
    return Contents(dict(arrays), shards.names)


def read_folder(path: Path, columns: Mapping[str, str]) -> Contents:
    """A folder with each array in a ``.npy`` file of its name, of which ids and split are read and others stay on disk.

    One without such files is a folder of shards.
    """
    files = {file.stem: file for file in sorted(path.glob("*.npy"))}
    if not files:
        return read_shards(in_folder(path), columns)
    arrays: dict[str, Rows] = {}
    for role, name in columns.items():
        if name in files:
            arrays[role] = _npy_column(files[name], role, f"{path}: array {name!r}")
    return Contents(arrays, tuple(files))


def _npy_column(file: Path, role: str, where: str) -> Rows:
    found = NpyFile.found(file, where)
    mapped = MappedArray(found, found.header.dtype)
    if role in LISTS and (role != "negatives" or found.header.dtype.kind == "f"):
        _check_room(file, found.header)
        return mapped
    check_size(file, found.header.nbytes)
    return mapped.whole()


def _check_room(path: Path, header: NpyHeader) -> None:
    """Refuse a mapped array of which memory can not hold a few numbers a row, and some rows."""
    rows, row = (header.shape or (1,))[0], header.dtype.itemsize * prod(header.shape[1:])
    needed = BYTES_PER_ROW * rows + ROWS_AT_ONCE * row
    if needed > (free := free_memory()):
        raise UserError(
            f"{path}: {rows:,} rows of {row:,} bytes need {needed:,} bytes of memory beside what stays on disk, "
            f"and {free:,} are free"
        )


READERS: dict[str, Callable[[Path, Mapping[str, str]], Contents]] = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    **dict.fromkeys(TABLES, read_table),
}
"""What reads a file, by the end of its name in lower case; the columns that are wanted are names by role."""
