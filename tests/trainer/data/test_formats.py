"""Data files: what is written is what is read, and no file, however damaged, ends in a traceback."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.remedies import FINITE, OF_ONE_LENGTH, WITHOUT_INNER_NULLS, WITHOUT_NULLS, another
from tests.trainer.samples import PICKLED, Arrays, refusal, sample_arrays

NPY = np.lib.format


def write_npz(path: Path, arrays: Arrays) -> None:
    np.savez(path, **arrays)


def write_compressed_npz(path: Path, arrays: Arrays) -> None:
    np.savez_compressed(path, **arrays)


def write_safetensors(path: Path, arrays: Arrays) -> None:
    codes = {"train": 0, "val": 1, "test": 2}
    arrays = {name: np.array([codes[x] for x in a]) if a.dtype.kind == "U" else a for name, a in arrays.items()}
    save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def write_parquet(path: Path, arrays: Arrays) -> None:
    pq.write_table(pa.table({name: pa.array(list(array)) for name, array in arrays.items()}), path, row_group_size=7)


def write_fixed_size_parquet(path: Path, arrays: Arrays) -> None:
    columns = {name: pa.array(array) for name, array in arrays.items() if array.ndim == 1}
    for name in arrays.keys() - columns.keys():
        columns[name] = pa.FixedSizeListArray.from_arrays(arrays[name].reshape(-1), arrays[name].shape[1])
    pq.write_table(pa.table(columns), path, row_group_size=7)


def write_arrow(path: Path, arrays: Arrays, begin: Any = pa.ipc.new_file) -> None:
    table = pa.table({name: pa.array(list(array)) for name, array in arrays.items()})
    with pa.OSFile(str(path), "wb") as sink, begin(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def write_arrow_stream(path: Path, arrays: Arrays) -> None:
    write_arrow(path, arrays, pa.ipc.new_stream)


def write_json_lines(path: Path, arrays: Arrays) -> None:
    rows = zip(*(array.tolist() for array in arrays.values()), strict=True)
    path.write_text("".join(json.dumps(dict(zip(arrays, row, strict=True))) + "\n" for row in rows))


WRITERS: dict[str, tuple[str, Callable[[Path, Arrays], None]]] = {
    "npz": ("a.npz", write_npz),
    "compressed npz": ("a.npz", write_compressed_npz),
    "safetensors": ("a.safetensors", write_safetensors),
    "parquet": ("a.parquet", write_parquet),
    "fixed-size parquet": ("a.parquet", write_fixed_size_parquet),
    "arrow": ("a.arrow", write_arrow),
    "arrow stream": ("a.arrow", write_arrow_stream),
    "json lines": ("a.jsonl", write_json_lines),
}
every_format = pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)


def full_arrays() -> Arrays:
    arrays = sample_arrays(rows=20)
    return {**arrays, "ids": np.arange(20) * 3, "split": np.array(["train", "val", "test", "train"] * 5)}


@every_format
@pytest.mark.parametrize("parts", [("inputs", "targets"), ("inputs", "targets", "ids"), tuple(full_arrays())])
def test_a_file_gives_back_the_arrays_it_was_written_from(
    tmp_path: Path, name: str, write: Callable[[Path, Arrays], None], parts: tuple[str, ...]
) -> None:
    arrays = {part: full_arrays()[part] for part in parts}
    write(tmp_path / name, arrays)
    found, expected = load_pairs(str(tmp_path / name)), make_pairs(arrays, "memory")
    assert found.source == str(tmp_path / name)
    assert found.digest == expected.digest
    np.testing.assert_array_equal(found.inputs, arrays["inputs"])
    np.testing.assert_array_equal(found.targets, arrays["targets"])
    np.testing.assert_array_equal(found.ids, expected.ids)


@every_format
def test_integer_inputs_come_back_as_integers(tmp_path: Path, name: str, write: Callable[[Path, Arrays], None]) -> None:
    inputs = np.arange(40, dtype=np.uint8).reshape(20, 2)
    write(tmp_path / name, {**sample_arrays(rows=20), "inputs": inputs})
    found = load_pairs(str(tmp_path / name)).inputs
    assert np.issubdtype(found.dtype, np.integer)
    np.testing.assert_array_equal(found, inputs)


@every_format
def test_a_bad_row_is_named_with_the_file(tmp_path: Path, name: str, write: Callable[[Path, Arrays], None]) -> None:
    arrays = full_arrays()
    arrays["targets"][7, 1] = np.nan
    write(tmp_path / name, arrays)
    message = f"{tmp_path / name}: targets row 7 holds NaN, infinity or a number beyond float32 (1 such rows)"
    assert refusal(load_pairs, str(tmp_path / name)) == f"{message}{FINITE.format('targets')}"


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "a.npz", full_arrays())
    monkeypatch.chdir(tmp_path)
    assert load_pairs("a.npz").source == str(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_safetensors_of_any_float_type_come_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    arrays = {name: torch.from_numpy(array).to(dtype) for name, array in sample_arrays(rows=20).items()}
    save_file(arrays, tmp_path / "a.safetensors")
    found = load_pairs(str(tmp_path / "a.safetensors"))
    np.testing.assert_array_equal(found.targets, arrays["targets"].float().numpy())


def test_safetensors_split_codes_outside_0_to_2_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    arrays = {name: torch.from_numpy(array) for name, array in sample_arrays(rows=3).items()}
    save_file({**arrays, "split": torch.tensor([0, 2, 3])}, path)
    assert (
        refusal(load_pairs, str(path)) == f"{path}: split row 2 is 3; allowed: 0 train, 1 val, 2 test{another('split')}"
    )


@every_format
def test_no_flipped_or_missing_byte_ends_in_a_traceback(
    tmp_path: Path, name: str, write: Callable[[Path, Arrays], None]
) -> None:
    path = tmp_path / name
    write(path, sample_arrays(rows=4, width=2, dims=2))
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :] for i in range(len(whole)) for bit in (1, 0x80)]
    refused = 0
    for content in [*flipped[:: 3 if "parquet" in name else 1], *(whole[:i] for i in range(0, len(whole), 7))]:
        path.write_bytes(content)
        try:
            load_pairs(str(path))
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017 - not every damage must be refused
            refused += 1
    assert refused > len(whole) / 7


@every_format
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, write: Callable[[Path, Arrays], None]) -> None:
    path = tmp_path / name
    write(path, full_arrays())
    path.write_bytes(path.read_bytes()[:-40])
    assert refusal(load_pairs, str(path)).startswith(f"{path}: not a readable {path.suffix} file: ")


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.parquet"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_what_is_no_such_file_at_all_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(load_pairs, str(path)).startswith(f"{path}: not a readable {path.suffix} file: ")


def npy_bytes(header: dict[str, Any], body: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    NPY.write_array_header_1_0(stream, header)
    content = stream.getvalue() + body
    return content[:6] + bytes(version) + content[8:]


def write_members(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def floats(*shape: int) -> dict[str, Any]:
    return {"descr": "<f4", "fortran_order": False, "shape": shape}


class TestNpz:
    def test_a_pickle_is_refused_and_not_executed(self, tmp_path: Path) -> None:
        path, trace = tmp_path / "a.npz", tmp_path / "executed"
        np.savez(path, inputs=np.array([_Bomb(trace)], dtype=object), targets=np.ones((1, 2)), allow_pickle=True)
        message = f"{path}: array 'inputs' {PICKLED}"
        assert refusal(load_pairs, str(path)) == message
        assert not trace.exists()

    def test_a_bare_pickle_is_not_executed(self, tmp_path: Path) -> None:
        path, trace = tmp_path / "a.npz", tmp_path / "executed"
        path.write_bytes(pickle.dumps(_Bomb(trace)))
        refusal(load_pairs, str(path))
        assert not trace.exists()

    @pytest.mark.parametrize("shape", [(10**11,), (10**6, 10**5), (5,), (3,), (2**62, 2**62)])
    def test_a_header_that_lies_about_its_size_is_refused_before_memory_is_taken(
        self, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        path = tmp_path / "a.npz"
        write_members(path, inputs=npy_bytes(floats(*shape), b"\0" * 16))
        claimed = 4 * int(np.prod([int(n) for n in shape], dtype=object))
        message = f"{path}: array 'inputs' claims {claimed:,} bytes in its header, but the file holds 16"
        assert refusal(load_pairs, str(path)) == message

    def test_an_archive_that_lies_along_with_the_header_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        content = npy_bytes(floats(10**11), b"\0" * 16)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inputs.npy", content)
            archive.infolist()[0].file_size = len(content) - 16 + 4 * 10**11
        assert refusal(load_pairs, str(path)).startswith(f"{path}: not a readable .npz file: ")

    def test_an_unknown_npy_version_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        write_members(path, inputs=npy_bytes(floats(4), b"\0" * 16, version=(3, 0)))
        assert (
            refusal(load_pairs, str(path))
            == f"{path}: array 'inputs' has an unknown .npy version (3, 0); save it with numpy.save"
        )

    def test_a_member_that_is_no_array_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        write_members(path, inputs=b"no array at all")
        assert refusal(load_pairs, str(path)).startswith(f"{path}: not a readable .npz file: ")


class _Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


FLOAT_LISTS = pa.list_(pa.float32())


class TestParquet:
    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (
                pa.array([[1.0, 2.0], None, [3.0, 4.0]], FLOAT_LISTS),
                f"inputs row 1 is null{WITHOUT_NULLS.format('inputs')}",
            ),
            (
                pa.array([[1.0, 2.0], [3.0], [3.0, 4.0]], FLOAT_LISTS),
                f"inputs row 1 has 1 numbers, row 0 has 2{OF_ONE_LENGTH.format('inputs', 2)}",
            ),
            (
                pa.array([[1.0], [3.0], []], FLOAT_LISTS),
                f"inputs row 2 has 0 numbers, row 0 has 1{OF_ONE_LENGTH.format('inputs', 1)}",
            ),
            (
                pa.array([[1.0], [None], [2.0]], FLOAT_LISTS),
                f"inputs row 1 holds a null{WITHOUT_INNER_NULLS.format('inputs')}",
            ),
            (
                pa.array([["a"], ["b"], ["c"]]),
                "inputs has Arrow type list<element: string>; expected a list of numbers in each row: "
                "another column may be meant, --columns inputs=NAME",
            ),
            (
                pa.array([1.0, 2.0, 3.0]),
                "inputs has Arrow type double; expected a list of numbers in each row: "
                "another column may be meant, --columns inputs=NAME",
            ),
        ],
        ids=["null", "short row", "empty row", "null inside", "text", "flat"],
    )
    def test_a_bad_column_is_refused_by_row(self, tmp_path: Path, column: pa.Array, message: str) -> None:
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"inputs": column, "targets": [[1.0], [2.0], [3.0]]}), path)
        assert refusal(load_pairs, str(path)) == f"{path}: {message}"

    def test_a_null_beyond_the_first_row_group_is_named_by_its_row(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        rows = [[1.0]] * 25 + [None] + [[1.0]] * 4
        pq.write_table(pa.table({"inputs": pa.array(rows, FLOAT_LISTS), "targets": [[1.0]] * 30}), path, 4)
        assert refusal(load_pairs, str(path)) == f"{path}: inputs row 25 is null{WITHOUT_NULLS.format('inputs')}"

    def test_a_file_without_rows_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({name: pa.array([], FLOAT_LISTS) for name in ("inputs", "targets")}), path)
        assert refusal(load_pairs, str(path)) == f"{path}: inputs has no rows"

    def test_a_folder_named_like_a_partition_adds_no_column(self, tmp_path: Path) -> None:
        path = tmp_path / "split=val" / "a.parquet"
        path.parent.mkdir()
        write_parquet(path, sample_arrays(rows=5))
        assert load_pairs(str(path)).split is None

    def test_dictionary_encoded_splits_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        columns: dict[str, Any] = {name: list(array) for name, array in sample_arrays(rows=3).items()}
        columns["split"] = pa.array(["train", "val", "test"]).dictionary_encode()
        pq.write_table(pa.table(columns), path)
        found = load_pairs(str(path)).split
        assert found is not None
        assert found.tolist() == [0, 1, 2]
