"""Data as a folder of ``.npy`` files: the same pairs, with the same digest, in bounded memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from losstune.trainer.data import arrow_tables
from losstune.trainer.data.convert import convert
from losstune.trainer.data.npy import MappedArray
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.remedies import WITHOUT_NULLS
from losstune.trainer.data.splits import split_rows
from tests.trainer.conftest import Line
from tests.trainer.data.test_folder import save_folder
from tests.trainer.data.test_formats import write_npz
from tests.trainer.data.test_shards import NAMES, part, written
from tests.trainer.samples import refusal, sample_arrays

NAMED = "inputs=anchor,targets=positive"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_tables, "MOST_ROWS", 7)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
def test_shards_give_the_same_pairs_ids_and_splits(tmp_path: Path, suffix: str) -> None:
    for number, name in enumerate(sorted(NAMES)):
        written(tmp_path / f"shards/{name}-0{suffix}", part(20 * number, 20))
    files = sorted(map(str, (tmp_path / "shards").iterdir()))
    direct = load_pairs(tmp_path / "shards", NAMED)
    for number, sources in enumerate(([str(tmp_path / "shards")], [f"{tmp_path}/shards/*{suffix}"], files)):
        assert convert(sources, tmp_path / str(number), NAMED) == 60
        found = load_pairs(tmp_path / str(number))
        assert isinstance(found.inputs, MappedArray)
        assert (found.digest, found.unused) == (direct.digest, ())
        for one, other in zip(
            split_rows(found, 0).__dict__.values(), split_rows(direct, 0).__dict__.values(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.uint8, np.bool_, np.uint32])
def test_a_file_gives_the_same_pairs_whatever_its_types(tmp_path: Path, dtype: type) -> None:
    arrays = {**sample_arrays(rows=20), "inputs": np.arange(80).reshape(20, 2, 2).astype(dtype)}
    write_npz(tmp_path / "a.npz", arrays)
    save_folder(tmp_path / "b", arrays)
    columns: dict[str, Any] = {name: pa.array(array.tolist()) for name, array in arrays.items()}
    kind = pa.list_(pa.list_(pa.from_numpy_dtype(dtype)))
    columns["inputs"] = pa.array(arrays["inputs"].tolist(), kind)
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    for name in ("a.npz", "b", "c.parquet"):
        convert([str(tmp_path / name)], tmp_path / f"{name}.folder")
        assert load_pairs(tmp_path / f"{name}.folder").digest == load_pairs(arrays).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"targets": np.ones((61, 5))},
        {"targets": np.ones((59, 5))},
        {"targets": np.float64(1)},
        {"targets": np.ones((60, 5), int)},
        {"inputs": np.float64(1)},
        {"inputs": np.ones(60)},
        {"inputs": np.ones((60, 0))},
        {"inputs": np.array([["1"]] * 60)},
        {"inputs": np.ones((60, 2)) * 1j},
        {"ids": np.arange(61)},
        {"ids": np.int64(1)},
        {"groups": np.ones((60, 1), int)},
        {"split": np.array([["train"]] * 60)},
        {"split": np.array(["train"] * 61)},
        {"negatives": np.arange(122).reshape(61, 2)},
        {"negatives": np.ones((61, 2, 5))},
        {"negatives": np.arange(60)},
        {"negatives": np.ones((60, 5))},
        {"negatives": np.ones((60, 2, 4))},
        {"negatives": np.ones((60, 2, 5), int)},
    ],
    ids=lambda changed: " ".join(f"{name} {array.dtype} {array.shape}" for name, array in changed.items()),
)
def test_what_does_not_load_is_refused_before_a_part_of_it_is_written(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Rows beyond those of the inputs were left out, imaginary parts too, and text that is digits became numbers."""
    write_npz(tmp_path / "a.npz", {**sample_arrays(rows=60), "ids": np.arange(60), **changed})
    columns = {"negatives": "negatives"} if "negatives" in changed else {}
    loading = refusal(load_pairs, str(tmp_path / "a.npz"), columns)
    found = refusal(convert, [str(tmp_path / "a.npz")], tmp_path / "out", columns)
    assert found.partition(" has ")[0] == loading.partition(" has ")[0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("rows", [{"positive": [[1, 2]] * 20}, {"anchor": [0.5] * 20}], ids=["whole", "no list"])
def test_files_of_rows_that_do_not_load_are_refused_too(tmp_path: Path, rows: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    (name,) = rows
    table = part(0, 20)
    written(path, table.set_column(table.schema.get_field_index(name), name, pa.array(rows[name])))
    loading = refusal(load_pairs, str(path), NAMED)
    assert refusal(convert, [str(path)], tmp_path / "out", NAMED) == loading
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", sample_arrays())
    (tmp_path / "pairs").mkdir()
    message = f"{tmp_path}/pairs: is there already; name a folder that is not"
    assert refusal(convert, [str(tmp_path / "a.npz")], tmp_path / "pairs") == message


def test_a_bad_row_leaves_no_folder(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", part(0, 20))
    path = tmp_path / "b.jsonl"
    path.write_text((tmp_path / "a.jsonl").read_text() + '{"anchor": null}\n')
    assert (
        refusal(convert, [str(path)], tmp_path / "pairs", NAMED)
        == f"{path}: inputs row 20 is null{WITHOUT_NULLS.format('anchor')}"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_numbers_of_another_type_in_a_later_file(tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", part(0, 20))
    whole = pa.array([[1] * 6] * 20)
    written(tmp_path / "b.parquet", part(20, 20).set_column(0, "anchor", whole))
    message = "inputs are int64 from row 20 on, float32 before; write them alike"
    files = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    assert refusal(convert, files, tmp_path / "pairs", NAMED) == f"{files[0]} and 1 more: {message}"


def test_several_that_are_no_files_of_rows(tmp_path: Path) -> None:
    message = f"{tmp_path}/a.npz: of several, each is to be a file ending in .parquet, .pq, .arrow, .feather, .jsonl"
    assert refusal(convert, [f"{tmp_path}/a.npz", f"{tmp_path}/b.npz"], tmp_path / "pairs") == message


def test_several_that_are_one_table_in_two_formats(tmp_path: Path) -> None:
    """As the shell gives them, where a pattern was not quoted."""
    files = [tmp_path / "a.jsonl", tmp_path / "a.parquet"]
    for path in files:
        written(path, part(0, 20))
    message = refusal(convert, list(map(str, files)), tmp_path / "pairs", NAMED)
    assert message.startswith(f"{tmp_path}: by their names a.jsonl and a.parquet are one table in two formats, ")


def test_by_the_command_line(cli: Line) -> None:
    done = cli("convert pairs.npz folder")
    assert (done.code, done.out) == (0, "Wrote folder: 200 rows\n")
    assert load_pairs("folder").digest == load_pairs("pairs.npz").digest
    done = cli("convert pairs.npz")
    message = "convert: found one path; expected files, and behind them the folder to make"
    assert (done.code, done.err) == (2, f"error: {message}\n")
    missing = cli("convert pairs.npz other --columns inputs=query")
    assert missing.err.endswith(
        "no column 'query', which is to be inputs; found inputs, targets: --columns inputs=NAME\n"
    )


MEASURE = """
import resource
from pathlib import Path
from losstune.trainer.data.convert import convert

convert(["small.parquet"], Path("first"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert(["large.parquet"], Path("pairs"))
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_memory_holds_some_megabytes(tmp_path: Path) -> None:
    """Of 200 MB in one row group."""
    rng = np.random.default_rng(0)
    for name, rows in (("small", 5000), ("large", 100_000)):
        flat = {role: pa.array(rng.random(rows * 256, dtype=np.float32)) for role in ("inputs", "targets")}
        lists = {role: pa.FixedSizeListArray.from_arrays(values, 256) for role, values in flat.items()}
        pq.write_table(pa.table(lists), tmp_path / f"{name}.parquet")
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 80 * 1024 * 1024


def test_groups_as_text_come_along(tmp_path: Path) -> None:
    groups = [f"user {row // 4}" for row in range(200)]
    columns = {name: list(array) for name, array in sample_arrays().items()}
    pq.write_table(pa.table({**columns, "groups": groups}), tmp_path / "pairs.parquet")
    assert convert([str(tmp_path / "pairs.parquet")], tmp_path / "pairs") == 200
    found, direct = load_pairs(tmp_path / "pairs"), load_pairs(tmp_path / "pairs.parquet")
    assert found.digest == direct.digest
    assert found.blocks is not None
    np.testing.assert_array_equal(found.blocks, direct.blocks)
    assert len(np.unique(found.blocks)) == 50
