"""Parquet and Arrow's own files: the same rows however they are cut up, compressed or written."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from losstune.trainer.data import arrow_tables
from losstune.trainer.data.arrow_tables import ArrowTable, ParquetTable
from losstune.trainer.data.pairs import load_inputs, load_pairs
from losstune.trainer.data.remedies import AS_A_COLUMN, WITHOUT_NULLS
from losstune.trainer.data.table import Table
from tests.trainer.samples import Arrays, refusal, sample_arrays

ROLES = {"inputs": "inputs", "targets": "targets", "ids": "ids"}


def table_of(rows: int = 100) -> pa.Table:
    arrays = sample_arrays(rows=rows)
    columns = {name: pa.array(list(array)) for name, array in arrays.items()}
    return pa.table({**columns, "ids": [f"doc-{row}" for row in range(rows)], "text": ["unused"] * rows})


def write_file(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)


def write_feather(table: pa.Table, path: Path) -> None:
    pyarrow.feather.write_feather(table, path, compression="zstd", chunksize=30)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=30)


FORMS: dict[str, tuple[str, Callable[[pa.Table, Path], None], type[Any]]] = {
    "file": ("a.arrow", write_file, ArrowTable),
    "stream": ("a.arrow", write_stream, ArrowTable),
    "feather": ("a.feather", write_feather, ArrowTable),
    "parquet": ("a.parquet", write_parquet, ParquetTable),
}
every_form = pytest.mark.parametrize(("name", "write", "kind"), FORMS.values(), ids=FORMS)


def joined(batches: Iterator[dict[str, Any]]) -> Arrays:
    found = list(batches)
    return {role: np.concatenate([batch[role] for batch in found]) for role in found[0]}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_tables, "MOST_ROWS", 7)


@every_form
def test_all_rows_of_the_columns_asked_for(
    tmp_path: Path, name: str, write: Callable[[pa.Table, Path], None], kind: Callable[[Path], Table]
) -> None:
    write(table_of(), tmp_path / name)
    table = kind(tmp_path / name)
    assert (table.names, table.rows) == (("inputs", "targets", "ids", "text"), 100)
    batches = list(table.batches(ROLES, 0))
    assert max(len(batch["ids"]) for batch in batches) <= 7
    found = joined(iter(batches))
    for role, array in sample_arrays(rows=100).items():
        np.testing.assert_array_equal(found[role], array)
    assert found["ids"].tolist() == [f"doc-{row}" for row in range(100)]
    assert load_pairs(str(tmp_path / name)).unused == ("text",)


@every_form
@pytest.mark.parametrize("size", [None, 5], ids=["list", "fixed size"])
def test_a_null_row_is_named_wherever_it_is(
    tmp_path: Path, name: str, write: Callable[[pa.Table, Path], None], kind: Callable[[Path], Table], size: int | None
) -> None:
    """Also where Arrow itself can not read it: a null of fixed size in Parquet."""
    targets = [*sample_arrays(rows=100)["targets"]]
    targets[71] = None  # type: ignore[call-overload]
    column = pa.array(targets, pa.list_(pa.float32(), -1 if size is None else size))
    write(table_of().set_column(1, "targets", column), tmp_path / name)
    assert (
        refusal(load_pairs, str(tmp_path / name))
        == f"{tmp_path / name}: targets row 71 is null{WITHOUT_NULLS.format('targets')}"
    )


@every_form
def test_a_row_of_another_length_in_a_later_batch(
    tmp_path: Path, name: str, write: Callable[[pa.Table, Path], None], kind: Callable[[Path], Table]
) -> None:
    table = table_of()
    longer = pa.array([[1.0] * (5 if row < 70 else 6) for row in range(100)], pa.list_(pa.float32()))
    write(table.set_column(1, "targets", longer), tmp_path / name)
    message = refusal(load_pairs, str(tmp_path / name))
    assert re.search(r"targets row 70 has (6 numbers|shape \(6,\)), row \d+ has (5|\(5,\))", message), message


@every_form
def test_ids_as_the_evenly_spaced_index_of_pandas(
    tmp_path: Path, name: str, write: Callable[[pa.Table, Path], None], kind: Callable[[Path], Table]
) -> None:
    arrays = {name: list(array) for name, array in sample_arrays(rows=100).items()}
    frame = pd.DataFrame(arrays, index=pd.RangeIndex(7, 307, 3, name="ids"))
    write(pa.Table.from_pandas(frame), tmp_path / name)
    pairs = load_pairs(str(tmp_path / name))
    assert pairs.ids.tolist() == list(range(7, 307, 3))
    assert pairs.unused == ()


@every_form
@pytest.mark.parametrize("rows", [60, 110], ids=["chosen", "joined"])
def test_an_index_of_other_rows_is_refused(
    tmp_path: Path, name: str, write: Callable[[pa.Table, Path], None], kind: Callable[[Path], Table], rows: int
) -> None:
    """Ids past its end were whatever the memory held; those of chosen rows were other rows'."""
    arrays = {name: list(array) for name, array in sample_arrays(rows=100).items()}
    table = pa.Table.from_pandas(pd.DataFrame(arrays, index=pd.RangeIndex(100, name="ids")))
    path = tmp_path / name
    write(pa.concat_tables([table, table]).slice(0, rows), path)
    message = f"{path}: ids: is an index of 100 rows by a note of pandas, and the file has {rows}{AS_A_COLUMN}"
    assert refusal(load_pairs, str(path)) == message
    assert len(load_inputs(str(path))) == rows


def test_an_index_of_pandas_without_a_name_is_no_column(tmp_path: Path) -> None:
    arrays = {name: list(array) for name, array in sample_arrays(rows=100).items()}
    pd.DataFrame(arrays, index=np.random.default_rng(0).permutation(100)).to_parquet(tmp_path / "a.parquet")
    assert "__index_level_0__" in ParquetTable(tmp_path / "a.parquet").names
    assert load_pairs(str(tmp_path / "a.parquet")).unused == ()


def test_feather_of_version_1_is_refused_with_the_way_on(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    path.write_bytes(b"FEA1" + b"\0" * 40)
    message = f"{path}: Feather of version 1; write it again with version 2, which pandas does"
    assert refusal(load_pairs, str(path)) == message
