"""Rows that stay in a ``.npy`` file: what comes out, what is pickled, and which files are refused."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losstune.trainer.data import npy
from losstune.trainer.data.npy import DataNotHereError, MappedArray, NpyFile, write_npy_header
from tests.trainer.samples import PICKLED, refusal


def mapped(path: Path) -> MappedArray:
    found = NpyFile.found(path, f"{path}: array 'inputs'")
    return MappedArray(found, found.header.dtype)


def saved(path: Path, array: np.ndarray) -> MappedArray:
    np.save(path, array)
    return mapped(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inputs.npy"


class TestRows:
    @pytest.mark.parametrize("stored", ["<f2", "<f4", ">f4", "<f8", "|u1", "|b1", "<i2", "<u4", "<i8"])
    @pytest.mark.parametrize("taken", ["float32", "int64"])
    def test_come_out_as_the_array_has_them_in_the_type_asked_for(self, path: Path, stored: str, taken: str) -> None:
        array = np.random.default_rng(0).uniform(0, 2, size=(50, 3, 2)).astype(stored)
        found = saved(path, array).astype(taken)
        assert (found.shape, found.ndim, found.size, len(found), found.dtype) == ((50, 3, 2), 3, 300, 50, taken)
        for rows in (slice(None), slice(7, 20), np.array([4, 4, 49, 0]), np.array([], dtype=np.int64)):
            assert found[rows].dtype == taken
            np.testing.assert_array_equal(found[rows], array[rows].astype(taken))

    def test_belong_to_the_caller(self, path: Path) -> None:
        found = saved(path, np.ones((4, 2), dtype=np.float32))
        for rows in (slice(0, 2), np.array([0, 1]), slice(None)):
            found[rows][:] = 7
        assert found[:].tolist() == [[1, 1]] * 4

    def test_are_the_same_where_the_file_does_not_fit_into_memory(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        array = np.arange(600).reshape(100, 6)
        monkeypatch.setattr(npy, "free_memory", lambda: 1000)
        found = saved(path, array)
        for rows in (slice(0, 9), np.array([3, 4, 5]), np.array([3, 99]), np.array([], dtype=np.int64)):
            np.testing.assert_array_equal(found[rows], array[rows])

    @pytest.mark.parametrize("shape", [(), (5,), (3, 2)])
    def test_can_be_had_whole(self, path: Path, shape: tuple[int, ...]) -> None:
        array = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_array_equal(saved(path, array).whole(), array)


class TestPickled:
    def test_it_is_a_handle_that_opens_the_file_where_it_comes_out(self, path: Path) -> None:
        array = np.random.default_rng(0).normal(size=(10_000, 8))
        found = saved(path, array).astype(np.float32)
        np.testing.assert_array_equal(found[:3], array[:3].astype(np.float32))
        content = pickle.dumps(found)
        assert len(content) < 1000
        again = pickle.loads(content)
        assert again == found
        np.testing.assert_array_equal(again[np.array([9_999, 2])], array[[9_999, 2]].astype(np.float32))

    def test_a_file_that_is_not_there_is_told_when_its_rows_are_wanted(self, path: Path) -> None:
        content = pickle.dumps(saved(path, np.ones((4, 2))))
        path.unlink()
        again = pickle.loads(content)
        with pytest.raises(DataNotHereError) as caught:
            again[:1]
        node = os.uname().nodename
        assert str(caught.value) == f"{path}: no such file, on {node}; every node reads data at the same path"

    @pytest.mark.parametrize("change", ["a number in the middle", "the type", "the shape", "the last row"])
    def test_another_file_in_its_place_is_told(self, path: Path, change: str) -> None:
        array = np.random.default_rng(0).normal(size=(1000, 32))
        content = pickle.dumps(saved(path, array))
        other = {"the type": array.astype("<i8"), "the shape": array.reshape(500, 64)}.get(change, array.copy())
        if other.shape == array.shape and other.dtype == array.dtype:
            other[-1 if change == "the last row" else 500, -1] += 1
        np.save(path, other)
        again = pickle.loads(content)
        with pytest.raises(DataNotHereError) as caught:
            again[:1]
        assert str(caught.value) == (f"{path}: on {os.uname().nodename}, not the data that was checked at the start")

    def test_a_copy_with_another_time_is_the_same_file(self, path: Path) -> None:
        content = pickle.dumps(saved(path, np.ones((4, 2))))
        os.utime(path, (1, 1))
        assert pickle.loads(content)[:].tolist() == [[1, 1]] * 4


class TestRefused:
    def refused(self, path: Path) -> str:
        return refusal(mapped, path)

    def test_a_pipe_a_folder_and_nothing(self, path: Path) -> None:
        assert self.refused(path) == f"{path}: no such file"
        path.mkdir()
        assert self.refused(path) == f"{path}: not a regular file"
        path.rmdir()
        os.mkfifo(path)
        assert self.refused(path) == f"{path}: not a regular file"

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04K\x01."])
    def test_what_is_no_npy_file(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        assert self.refused(path).startswith(f"{path}: not a readable .npy file: ")

    def test_a_header_that_lies_about_its_size(self, path: Path) -> None:
        with path.open("wb") as stream:
            write_npy_header(stream, (10**11, 4), np.float32)
            stream.write(bytes(16))
        message = "claims 1,600,000,000,000 bytes in its header, but the file holds 16"
        assert self.refused(path) == f"{path}: array 'inputs' {message}"

    def test_a_pickle_which_is_not_executed(self, path: Path, tmp_path: Path) -> None:
        trace = tmp_path / "executed"
        np.save(path, np.array([_Trap(trace)], dtype=object), allow_pickle=True)
        assert self.refused(path) == f"{path}: array 'inputs' {PICKLED}"
        assert not trace.exists()

    def test_columns_instead_of_rows(self, path: Path) -> None:
        np.save(path, np.asfortranarray(np.ones((4, 3))))
        message = "lies on disk column by column (Fortran order), and training reads rows"
        assert self.refused(path).startswith(f"{path}: array 'inputs' {message}; save numpy.ascontiguousarray")

    def test_no_flipped_or_missing_byte_of_the_header_ends_in_a_traceback(self, path: Path) -> None:
        np.save(path, np.ones((4, 3), dtype=np.float32))
        whole = path.read_bytes()
        flipped = [whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :] for i in range(128) for bit in (1, 4, 0x80)]
        refused = 0
        for content in [*flipped, *(whole[:i] for i in range(0, len(whole), 5))]:
            path.write_bytes(content)
            try:
                mapped(path).whole()
            except npy.UserError as error:
                assert str(path) in str(error)  # noqa: PT017 - a flipped bit may leave a file that can be read
                refused += 1
        assert refused > 100


class _Trap:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_header_is_the_one_that_numpy_writes() -> None:
    own, reference = io.BytesIO(), io.BytesIO()
    array = np.ones((123, 45), dtype=np.float32)
    write_npy_header(own, array.shape, array.dtype)
    np.save(reference, array)
    assert own.getvalue() + array.tobytes() == reference.getvalue()
