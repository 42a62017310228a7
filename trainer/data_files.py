"""Readers of data files. Each returns raw arrays by name; none runs code from the file."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import UserError

Array = npt.NDArray[np.generic]


def read_npz(path: Path) -> dict[str, Array]:
    """Arrays of a ``.npz`` archive. Pickled arrays are refused; so are headers that lie about their size."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_npy_header(archive, member, path)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: not a readable .npz file: {error}") from None


def _check_npy_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise UserError(f"{path}: array {name!r} has an unknown .npy version {version}")
        shape, _, dtype = read_header(stream)
        if dtype.hasobject:
            raise UserError(f"{path}: array {name!r} holds Python objects (a pickle); only plain numbers are read")
        claimed = dtype.itemsize
        for length in shape:
            claimed *= length
        if claimed + stream.tell() != member.file_size:
            raise UserError(
                f"{path}: array {name!r} claims {claimed:,} bytes in its header, but the file holds "
                f"{member.file_size - stream.tell():,}"
            )


def read_safetensors(path: Path) -> dict[str, Array]:
    """Arrays of a ``.safetensors`` file; bfloat16 comes as float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable .safetensors file: {error}") from None
    arrays: dict[str, Array] = {}
    for name, tensor in tensors.items():
        arrays[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if "split" in arrays and np.issubdtype(arrays["split"].dtype, np.integer):
        arrays["split"] = _split_names(arrays["split"], path)
    return arrays


def _split_names(codes: Array, path: Path) -> Array:
    """Safetensors holds no text: 0, 1, 2 stand for train, val, test."""
    names = np.array(["train", "val", "test"])
    numbers = codes.astype(np.int64)
    bad = np.flatnonzero((numbers < 0) | (numbers > 2))
    if len(bad):
        raise UserError(f"{path}: split row {bad[0]} is {numbers[bad[0]]}; allowed: 0 train, 1 val, 2 test")
    return names[numbers]


def read_parquet(path: Path) -> dict[str, Array]:
    """Columns of a ``.parquet`` file; ``inputs`` and ``targets`` hold one list of numbers per row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        return {name: _column(table.column(name), name, path) for name in table.column_names}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable .parquet file: {str(error).splitlines()[0]}") from None


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


READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".parquet": read_parquet,
}
