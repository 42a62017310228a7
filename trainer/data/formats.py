"""Readers of data files. Each returns raw arrays by name; none runs code from the file.

A file of a few hundred bytes can unpack to any size. So every reader first adds up what a file says it holds,
refuses what does not fit, and then takes no more than it said.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.memory import free_memory, memory_limit
from losstune.trainer.data.npy import Array, MappedArray, NpyFile, NpyHeader, read_npy_header

MAX_EXPANSION = 200
"""Arrays may take this many times the bytes of their file; dense targets keep real data far below."""
SMALL = 256 * 1024 * 1024
"""Arrays up to this size are read however small their file is."""
BYTES_PER_ROW, ROWS_AT_ONCE = 64, 64
"""What memory must hold of an array that stays on disk: ids, splits and row numbers, and some rows."""


def read_npz(path: Path) -> dict[str, Array]:
    """Arrays of a ``.npz`` archive. Pickled arrays are refused; so are headers that lie about their size."""
    with _readable(path), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        for member in members:
            _check_member(archive, member, path)
        _check_size(path, sum(member.file_size for member in members))
        arrays: dict[str, Array] = {}
        for member in members:
            with archive.open(member) as content:
                arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
        return arrays


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A block that reads a file; on damaged bytes a library raises whatever it stumbles over."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a readable {path.suffix} file: {reason}") from None


def _check_size(path: Path, claimed: int) -> None:
    """Refuse arrays of ``claimed`` bytes that a file this small does not hold in earnest, or that memory does not."""
    size = path.stat().st_size
    if claimed > max(SMALL, MAX_EXPANSION * size):
        raise UserError(
            f"{path}: not a readable {path.suffix} file: its {size:,} bytes would unpack to {claimed:,}, more than "
            f"{MAX_EXPANSION} times as many; if that is meant, save the arrays uncompressed, with numpy.savez"
        )
    if claimed > (free := free_memory()):
        raise UserError(f"{path}: its arrays take {claimed:,} bytes of memory, and {free:,} are free")


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    where = f"{path}: array {member.filename.removesuffix('.npy')!r}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{where} is compressed in a way that NumPy does not write")
    with archive.open(member) as stream:
        read_npy_header(stream, member.file_size, where)


def read_safetensors(path: Path) -> dict[str, Array]:
    """Arrays of a ``.safetensors`` file; all floating types come as float32."""
    from safetensors.torch import load_file

    with _readable(path):
        _check_size(path, path.stat().st_size)
        tensors = load_file(path)
        arrays: dict[str, Array] = {}
        for name, tensor in tensors.items():
            arrays[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if "split" in arrays:
        arrays["split"] = _split_names(arrays["split"], path)
    return arrays


def _split_names(codes: Array, path: Path) -> Array:
    """Where a split is not given by text, 0, 1, 2 stand for train, val, test."""
    if codes.ndim != 1 or not np.issubdtype(codes.dtype, np.integer):
        return codes
    names = np.array(["train", "val", "test"])
    numbers = codes.astype(np.int64)
    bad = np.flatnonzero((numbers < 0) | (numbers > 2))
    if len(bad):
        raise UserError(f"{path}: split row {bad[0]} is {numbers[bad[0]]}; allowed: 0 train, 1 val, 2 test")
    return names[numbers]


def read_parquet(path: Path) -> dict[str, Array]:
    """Columns of a ``.parquet`` file; ``inputs`` and ``targets`` hold one list of numbers per row."""
    import pyarrow.parquet as pq

    size = path.stat().st_size
    limit = max(SMALL, MAX_EXPANSION * size)
    with _readable(path), path.open("rb") as stream:
        try:
            # Nothing outside its pages says how much they hold: 893 bytes can be a gigabyte. No threads, because
            # Arrow aborts the process where it can not start one.
            with memory_limit(limit):
                table = pq.ParquetFile(stream, pre_buffer=False).read(use_threads=False)
                return {name: _column(table.column(name), name, path) for name in table.column_names}
        except MemoryError:
            raise UserError(
                f"{path}: not a readable .parquet file: its {size:,} bytes take more than "
                f"{min(limit, free_memory()):,} bytes of memory"
            ) from None


def _column(column: "pa.ChunkedArray", name: str, path: Path) -> Array:  # type: ignore[name-defined] # noqa: F821
    import pyarrow as pa

    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise UserError(f"{path}: {name} row {row} is null")
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if not (
        pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type)
    ):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    if len(array) == 0:
        raise UserError(f"{path}: {name} has no rows")
    lengths = np.asarray(array.value_lengths().to_numpy(zero_copy_only=False))
    odd = np.flatnonzero(lengths != lengths[:1])
    if len(odd):
        raise UserError(f"{path}: {name} row {odd[0]} has {lengths[odd[0]]} numbers, row 0 has {lengths[0]}")
    values = np.asarray(array.flatten().to_numpy(zero_copy_only=False))
    return values.reshape(len(array), -1)


def read_folder(path: Path) -> dict[str, Array | MappedArray]:
    """Arrays of a folder, each in a ``.npy`` file of its name; ``ids`` and ``split`` are read, others stay on disk."""
    arrays: dict[str, Array | MappedArray] = {}
    for file in sorted(path.glob("*.npy")):
        found = NpyFile.found(file, f"{path}: array {file.stem!r}")
        mapped = MappedArray(found, found.header.dtype)
        if file.stem in ("ids", "split"):
            _check_size(file, found.header.nbytes)
            arrays[file.stem] = _split_names(mapped.whole(), path) if file.stem == "split" else mapped.whole()
        else:
            _check_room(file, found.header)
            arrays[file.stem] = mapped
    return arrays


def _check_room(path: Path, header: NpyHeader) -> None:
    """Refuse a mapped array of which memory can not hold a few numbers a row, and some rows."""
    rows, row = (header.shape or (1,))[0], header.dtype.itemsize * prod(header.shape[1:])
    needed = BYTES_PER_ROW * rows + ROWS_AT_ONCE * row
    if needed > (free := free_memory()):
        raise UserError(
            f"{path}: {rows:,} rows of {row:,} bytes need {needed:,} bytes of memory beside what stays on disk, "
            f"and {free:,} are free"
        )


READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".parquet": read_parquet,
}
