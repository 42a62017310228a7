"""Folders that are laid out as tools lay out tables of versions: files of rows of old beside those of now."""

from pathlib import Path

import pytest

from losstune.trainer.data.convert import convert
from tests.trainer.data.test_shards import loaded, part, same, written
from tests.trainer.samples import refusal

DELTA = "_delta_log/00000000000000000000.json"
ICEBERG = "metadata/00000-2de24828-29a4-4653-9795-c3b75278f9d6.metadata.json"
HUDI = ".hoodie/hoodie.properties"


def table(folder: Path, note: str, *files: str) -> Path:
    for number, name in enumerate(files):
        written(folder / name, part(20 * number, 20))
    (folder / note).parent.mkdir(parents=True)
    (folder / note).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (DELTA, "a Delta Lake table, {}: pyarrow.parquet.write_table(deltalake.DeltaTable('{}').to_pyarrow_table(), "),
        (ICEBERG, "an Iceberg table, {}: pyarrow.parquet.write_table(catalog.load_table(NAME).scan().to_arrow(), "),
        (HUDI, "a Hudi table, {}: spark.read.format('hudi').load('{}').write.parquet('pairs')"),
    ],
)
def test_are_refused_with_the_call_that_writes_the_version_of_now(tmp_path: Path, note: str, told: str) -> None:
    folder = table(tmp_path / "pairs", note, "data/part=1/a.parquet", "data/part=2/b.parquet")
    why = "whose folder also keeps rows that were deleted or replaced; write what it holds now to a place of its own"
    for source in (folder, folder / "data/part=1", tmp_path, f"{folder}/*/*/*.parquet"):
        assert refusal(loaded, source).startswith(f"{folder}: is {told.format(why, folder)}")
    for sources in [folder], [*folder.glob("data/*/*.parquet")]:
        assert refusal(convert, list(map(str, sources)), tmp_path / "out").startswith(f"{folder}: is ")


def test_a_link_into_one_is_too(tmp_path: Path) -> None:
    folder = table(tmp_path / "kept", DELTA, "year=2024/a.parquet")
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs/link").symlink_to(folder / "year=2024")
    assert refusal(loaded, tmp_path / "pairs").startswith(f"{folder}: is a Delta Lake table, ")


def test_one_file_of_one_is_read(tmp_path: Path) -> None:
    folder = table(tmp_path / "pairs", DELTA, "a.parquet", "b.parquet")
    assert len(loaded(folder / "a.parquet").ids) == 20


def test_other_notes_beside_rows_are_no_table_of_versions(tmp_path: Path) -> None:
    folder = table(tmp_path / "pairs", "metadata/about.json", "a.parquet", "b.parquet", "c.parquet")
    same(loaded(folder))
