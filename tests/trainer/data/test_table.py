"""Batches become whole arrays: types that differ, rows that a file has fewer of than it says, and memory."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losstune.trainer.data.npy import Array
from losstune.trainer.data.table import gathered, same_shapes
from tests.trainer.samples import refusal


class Given:
    """A table that claims some rows and has others."""

    names = ("inputs",)

    def __init__(self, path: Path, rows: int) -> None:
        self.path, self.rows = path, rows
        path.write_bytes(b"1")

    def batches(self, columns: Mapping[str, str], start: int) -> Iterator[dict[str, Array]]:
        raise NotImplementedError


def whole(tmp_path: Path, *parts: Any, role: str = "inputs", rows: int = 10) -> Array:
    return gathered([Given(tmp_path / "a.parquet", rows)], [{role: np.asarray(part)} for part in parts])[role]


def test_fewer_rows_than_were_claimed(tmp_path: Path) -> None:
    assert whole(tmp_path, [[1.0]], [[2.0], [3.0]]).tolist() == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (np.float64([[0.1]]), np.float32([[0.1]]), np.float32),
        (np.float16([[0.5]]), np.float64([[1e300]]), np.float32),
        (np.int8([[1]]), np.int64([[1000]]), np.int64),
        (np.uint8([[1]]), np.uint8([[2]]), np.uint8),
        (np.int64([[1]]), np.float32([[0.5]]), np.float64),
        (np.int64([[2**53 + 1]]), np.uint64([[7]]), np.int64),
        (np.uint64([[2**63 + 1]]), np.int8([[-7]]), np.int64),
    ],
)
def test_a_type_that_holds_both(tmp_path: Path, first: Array, second: Array, kept: type) -> None:
    found = whole(tmp_path, first, second)
    assert found.dtype == kept
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, np.concatenate([first.astype(kept), second.astype(kept)]))


def test_ids_of_64_bits_with_and_without_a_sign_stay_what_they_are(tmp_path: Path) -> None:
    parts = [np.array([-1]), np.array([2**64 - 1], np.uint64), np.array([3], np.int8)]
    assert whole(tmp_path, *parts, role="ids").tolist() == [-1, 2**64 - 1, 3]
    codes = whole(tmp_path, np.array([0, 2]), np.array([1], np.uint64), role="split")
    assert (codes.dtype, codes.tolist()) == (np.int64, [0, 2, 1])


def test_numbers_and_text_are_objects(tmp_path: Path) -> None:
    parts = [np.array([1, 2]), np.array(["a"], dtype=object)]
    assert whole(tmp_path, *parts, role="ids").tolist() == [1, 2, "a"]


def test_a_claim_that_no_file_so_small_means(tmp_path: Path) -> None:
    assert "would unpack to 400,000,000,000" in refusal(whole, tmp_path, np.ones((1, 1)), rows=10**11)


def test_a_row_of_another_shape_is_named(tmp_path: Path) -> None:
    batches = [{"inputs": np.ones((3, 2))}, {"inputs": np.ones((3, 2))}, {"inputs": np.ones((1, 4))}]
    message = "x: inputs row 6 has shape (4,), row 0 has (2,); they must be equal"
    assert refusal(list, same_shapes(batches, "x")) == message


MEASURE = """
import sys
from pathlib import Path
from losstune.trainer.data.column_names import ColumnNames
from losstune.trainer.data.sources import find_arrays
import pyarrow.parquet, pyarrow.compute

def told(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))

find_arrays("small.parquet", ColumnNames.of(None))
before = told("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
arrays = find_arrays(sys.argv[1], ColumnNames.of(None)).arrays
print((told("VmHWM") - before) / sum(array.nbytes for array in arrays.values()))
"""


@pytest.mark.parametrize("groups", [1, 8])
def test_beside_the_arrays_memory_holds_little(tmp_path: Path, groups: int) -> None:
    """200 MB in two shards; the peak above what the process had before is within 1.3 times the arrays."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    (tmp_path / "shards").mkdir()
    for name, rows in (("small", 100), ("shards/a", 50_000), ("shards/b", 50_000)):
        flat = {role: pa.array(rng.random(rows * 256, dtype=np.float32)) for role in ("inputs", "targets")}
        lists = {role: pa.FixedSizeListArray.from_arrays(values, 256) for role, values in flat.items()}
        pq.write_table(pa.table(lists), tmp_path / f"{name}.parquet", row_group_size=rows // groups)
    measured = [sys.executable, "-c", MEASURE, "shards"]
    done = subprocess.run(measured, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.3
