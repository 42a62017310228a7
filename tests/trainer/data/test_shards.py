"""Many files as one table: which files, in which order, and the split that their names say."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from losstune.trainer.data.convert import convert
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.remedies import OF_ONE_LENGTH, WITHOUT_COLUMN
from tests.trainer.data.test_arrow_tables import write_file, write_stream
from tests.trainer.samples import Arrays, refusal, sample_arrays

ROWS = 60
NAMES = ("train", "validation", "test")


def part(first: int, count: int, **more: object) -> pa.Table:
    arrays = {name: array[first : first + count] for name, array in sample_arrays(rows=ROWS).items()}
    columns = {"anchor": pa.array(list(arrays["inputs"])), "positive": pa.array(list(arrays["targets"]))}
    return pa.table({**columns, "ids": [f"doc-{row}" for row in range(first, first + count)], **more})


def written(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix.lower():
        case ".arrow":
            write_stream(table, path)
        case ".feather":
            write_file(table, path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        case _:
            pq.write_table(table, path)


def expected(split: list[str] | None = None) -> Arrays:
    arrays: Arrays = {**sample_arrays(rows=ROWS), "ids": np.array([f"doc-{row}" for row in range(ROWS)])}
    return arrays if split is None else {**arrays, "split": np.repeat(split, ROWS // len(split))}


def loaded(source: Path | str) -> Pairs:
    return load_pairs(source, "inputs=anchor,targets=positive")


def same(found: Pairs, split: list[str] | None = None) -> None:
    wanted = load_pairs(expected(split))
    np.testing.assert_array_equal(found.inputs, wanted.inputs)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    assert found.digest == wanted.digest


LAYOUTS: dict[str, tuple[list[str], list[str] | None]] = {
    "unnamed": (["a.parquet", "b.parquet", "c/d.parquet"], None),
    "of datasets": (
        [
            "data/test-00000-of-00001.parquet",
            "data/train-00000-of-00001.parquet",
            "data/validation-00000-of-00001.parquet",
        ],
        ["test", "train", "val"],
    ),
    "hive": (["split=dev/0.pq", "split=test/0.pq", "split=train/0.pq"], ["val", "test", "train"]),
    "folders": (["test/x.jsonl", "train/x.jsonl", "valid/x.jsonl"], ["test", "train", "val"]),
    "one split": (["train-0.PARQUET", "train-1.PARQUET", "train-2.PARQUET"], None),
    "arrow": (["part-0.arrow", "part-1.arrow", "part-2.arrow"], None),
    "feather": (["Test.feather", "Train.feather", "Val_1.feather"], ["test", "train", "val"]),
    "words within": (["mine-test.parquet", "mine-train.parquet", "mine.val.parquet"], ["test", "train", "val"]),
    "sized": (["mine-test10k.parquet", "train100K.parquet", "val1m_0.parquet"], ["test", "train", "val"]),
    "numbered": (["test1.parquet", "train_2.parquet", "val03.parquet"], ["test", "train", "val"]),
    "words of two splits": (
        ["mine-dev-test.parquet", "mine-test-train.parquet", "val-of-train.parquet"],
        ["test", "train", "val"],
    ),
    "longer words": (["contest.parquet", "mine-trained.parquet", "test2vec.parquet"], None),
    "words that only begin so": (["testament.parquet", "trained.parquet", "valley.parquet"], None),
}


@pytest.mark.parametrize(("files", "split"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_folder_is_its_files_in_order_with_the_split_of_their_names(
    tmp_path: Path, files: list[str], split: list[str] | None
) -> None:
    folder = tmp_path / "data"
    for number, name in enumerate(files):
        written(folder / name, part(20 * number, 20, note=["x"] * 20))
    (folder / "README.md").write_text("of no concern")
    (folder / "_SUCCESS").write_text("")
    written(folder / ".hidden/x.parquet", part(0, 1))
    written(folder / "_temporary/x.parquet", part(0, 1))
    written(folder / "lost+found/x.parquet", part(0, 1))
    found = loaded(folder)
    same(found, split)
    assert (found.source, found.unused) == (str(folder), ("note",))


def test_a_split_column_counts_and_not_the_names(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        written(tmp_path / f"{name}.parquet", part(20 * (0, 1, 2)[number], 20, split=["train"] * 20))
    files = sorted(NAMES)
    found = loaded(tmp_path)
    assert found.split is not None
    assert set(found.split.tolist()) == {0}, files


@pytest.mark.parametrize("pattern", ["data/*.parquet", "data/**/*.parquet", "dat?/part-[012].parquet"])
def test_a_pattern_is_the_files_that_match(tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        written(tmp_path / f"data/part-{number}.parquet", part(20 * number, 20))
    monkeypatch.chdir(tmp_path)
    found = loaded(pattern)
    same(found)
    assert found.source == str(tmp_path / pattern)
    same(loaded(str(tmp_path / pattern)))


def test_a_pattern_in_a_folder_with_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        written(tmp_path / f"run [1]/data/{number}.parquet", part(20 * number, 20))
    monkeypatch.chdir(tmp_path / "run [1]")
    found = loaded("data/*.parquet")
    same(found)
    monkeypatch.chdir(tmp_path)
    same(loaded(found.source))


def test_a_pattern_takes_the_split_from_names_too(tmp_path: Path) -> None:
    for number, name in enumerate(sorted(NAMES)):
        written(tmp_path / f"{name}-0.parquet", part(20 * number, 20))
    same(loaded(str(tmp_path / "*.parquet")), ["test", "train", "val"])
    assert loaded(str(tmp_path / "train-*.parquet")).split is None


def test_a_folder_above_that_is_named_like_a_split_says_nothing(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path / f"test/data/{number}.parquet", part(20 * number, 20))
    same(loaded(tmp_path / "test/data"))


class TestRefused:
    def test_a_pattern_that_matches_nothing(self, tmp_path: Path) -> None:
        assert refusal(loaded, f"{tmp_path}/*.pq") == f"--data {tmp_path}/*.pq: matches no file"

    def test_a_pattern_that_matches_another_kind(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("")
        message = f"matches {tmp_path}/a.csv; a pattern is for files ending in .parquet, .pq, .arrow, .feather, .jsonl"
        assert refusal(loaded, f"{tmp_path}/*") == f"--data {tmp_path}/*: {message}"

    def test_some_names_that_say_a_split_and_some_that_do_not(self, tmp_path: Path) -> None:
        written(tmp_path / "a.parquet", part(0, 20))
        written(tmp_path / "test.parquet", part(20, 20))
        message = f"the name of {tmp_path}/test.parquet says a split, that of {tmp_path}/a.parquet does not"
        assert (
            refusal(loaded, tmp_path)
            == f"{tmp_path}: {message}; name all, or none: a pattern leaves some out, --data 'folder/train-*.parquet'"
        )

    @pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
    def test_files_whose_names_say_the_split_and_whose_columns_are_named_otherwise(
        self, tmp_path: Path, suffix: str
    ) -> None:
        for number, name in enumerate(sorted(NAMES)):
            written(tmp_path / f"{name}{suffix}", part(20 * number, 20).drop_columns(["ids"]))
        assert refusal(load_pairs, tmp_path) == (
            f"{tmp_path}: no array 'inputs'; found anchor, positive, split; if it has another name: "
            "--columns inputs=NAME"
        )

    def test_a_column_that_a_later_file_lacks(self, tmp_path: Path) -> None:
        written(tmp_path / "a.parquet", part(0, 20))
        written(tmp_path / "b.parquet", part(20, 20).drop_columns(["positive"]))
        message = f"no column 'positive', which {tmp_path}/a.parquet has; found anchor, ids: a pattern leaves it out, "
        message += "--data 'folder/part-*.parquet'"
        assert refusal(loaded, tmp_path) == f"{tmp_path}/b.parquet: {message}"

    @pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
    @pytest.mark.parametrize("name", ["groups", "split"])
    def test_a_column_that_the_first_file_lacks(self, tmp_path: Path, name: str, suffix: str) -> None:
        first, second = (tmp_path / f"data/{file}{suffix}" for file in ("a", "b"))
        written(first, part(0, 20))
        written(second, part(20, 20, **{name: ["train"] * 20}))
        message = f"{second}: has a column '{name}', which {first} has not{WITHOUT_COLUMN.format(name)}"
        assert refusal(loaded, tmp_path / "data") == message
        columns = "inputs=anchor,targets=positive"
        assert refusal(convert, [str(first), str(second)], tmp_path / "out", columns) == message

    def test_a_split_column_beside_names_that_say_it(self, tmp_path: Path) -> None:
        written(tmp_path / "test.parquet", part(0, 20))
        written(tmp_path / "train.parquet", part(20, 20, split=["val"] * 20))
        assert "train.parquet: has a column 'split', which" in refusal(loaded, tmp_path)

    def test_a_column_that_begins_within_a_later_file(self, tmp_path: Path) -> None:
        written(tmp_path / "a.jsonl", part(0, 20))
        written(tmp_path / "b.jsonl", part(20, 20))
        lines = (tmp_path / "b.jsonl").read_text().splitlines()
        lines[7] = json.dumps({**json.loads(lines[7]), "groups": "a"})
        (tmp_path / "b.jsonl").write_text("\n".join(lines))
        message = f"row 7 has 'groups', which row 0 has not{WITHOUT_COLUMN.format('groups')}"
        assert refusal(loaded, tmp_path) == f"{tmp_path}/b.jsonl: {message}"

    def test_a_bad_row_by_its_file(self, tmp_path: Path) -> None:
        written(tmp_path / "a.parquet", part(0, 20))
        ragged = pa.array([[1.0] * (5 if row != 7 else 4) for row in range(20)])
        written(tmp_path / "b.parquet", part(20, 20).set_column(1, "positive", ragged))
        assert (
            refusal(loaded, tmp_path)
            == f"{tmp_path}/b.parquet: targets row 7 has 4 numbers, row 0 has 5{OF_ONE_LENGTH.format('targets', 5)}"
        )

    def test_vectors_of_another_length_in_a_later_file(self, tmp_path: Path) -> None:
        written(tmp_path / "a.parquet", part(0, 20))
        written(tmp_path / "b.parquet", part(20, 20).set_column(1, "positive", pa.array([[1.0]] * 20)))
        message = "targets row 20 has shape (1,), row 0 has (5,); they must be equal"
        assert refusal(loaded, tmp_path) == f"{tmp_path}: {message}"
