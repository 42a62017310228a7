"""Tables of JSON lines: what is read, and what is refused by line or row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data import json_lines
from losstune.trainer.data.convert import convert
from losstune.trainer.data.pairs import load_inputs, load_pairs, make_pairs
from losstune.trainer.data.remedies import OF_ONE_LENGTH, PADDED, WITHOUT_COLUMN, WITHOUT_NULLS, another
from tests.trainer.samples import refusal, sample_arrays


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return str(path)


def rows_of(count: int = 50) -> list[dict[str, Any]]:
    arrays = sample_arrays(rows=count)
    pairs = zip(arrays["inputs"].tolist(), arrays["targets"].tolist(), strict=True)
    return [{"inputs": x, "targets": y, "ids": f"doc-{row}", "note": None} for row, (x, y) in enumerate(pairs)]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "BATCH_BYTES", 1000)


def test_rows_are_the_same_as_in_memory(tmp_path: Path) -> None:
    found = load_pairs(write(tmp_path / "a.jsonl", rows_of()))
    ids = np.array([f"doc-{row}" for row in range(50)])
    assert found.digest == make_pairs({**sample_arrays(rows=50), "ids": ids}, "x").digest
    assert found.unused == ("note",)


def test_whole_numbers_in_the_first_rows_do_not_make_it_a_column_of_them(tmp_path: Path) -> None:
    rows = rows_of()
    for row in rows[:20]:
        row["targets"] = [1, 2, 3, 4, 5]
    found = load_pairs(write(tmp_path / "a.jsonl", rows)).targets
    np.testing.assert_array_equal(found[20:], sample_arrays(rows=50)["targets"][20:])
    assert found[0].tolist() == [1, 2, 3, 4, 5]


def test_blank_lines_and_other_columns_in_some_rows_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row | ({"more": 1} if row["ids"] == "doc-3" else {})) for row in rows_of()]
    path.write_text("\n\n".join(lines))
    assert len(load_pairs(str(path)).inputs) == 50


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inputs", None, f"inputs row 41 is null{WITHOUT_NULLS.format('inputs')}"),
        ("inputs", [1.0] * 5, f"inputs row 41 has shape (5,), row 0 has (6,){OF_ONE_LENGTH.format('inputs', 6)}"),
        (
            "inputs",
            [1.0] * 5 + [None],
            f"inputs row 41 is [1.0, 1.0, 1.0, 1.0, 1.0, None]; expected a list of numbers{another('inputs')}",
        ),
        ("targets", "text", f"targets row 41 is 'text'; expected a list of numbers{another('targets')}"),
        ("targets", [[1.0], [1.0, 2.0]], f"targets row 41 has lists of unequal length{PADDED}"),
        ("ids", 1.5, f"ids row 41 is 1.5; expected a whole number or text{another('ids')}"),
        ("ids", None, f"ids row 41 is null{WITHOUT_NULLS.format('ids')}"),
    ],
)
def test_a_bad_value_is_named_by_its_row(tmp_path: Path, name: str, value: object, message: str) -> None:
    rows = rows_of()
    rows[41][name] = value
    path = write(tmp_path / "a.jsonl", rows)
    found = refusal(load_pairs, path)
    first = found.partition(", row ")[2].partition(" ")[0] or "0"
    assert found == f"{path}: {message}".replace("row 0 has", f"row {first} has")


def test_a_value_that_is_not_there(tmp_path: Path) -> None:
    rows = rows_of()
    del rows[41]["targets"]
    path = write(tmp_path / "a.jsonl", rows)
    assert refusal(load_pairs, path) == f"{path}: targets row 41 is absent{WITHOUT_NULLS.format('targets')}"


@pytest.mark.parametrize("name", ["ids", "groups", "split"])
def test_a_column_that_begins_later(tmp_path: Path, name: str) -> None:
    """It is not ignored: rows of a group would stand in several splits."""
    rows = [{role: value for role, value in row.items() if role != "ids"} for row in rows_of()]
    rows[7][name] = None  # as tools write a value that is not there
    for row in rows[41:]:
        row[name] = "train"
    path = write(tmp_path / "a.jsonl", rows)
    message = f"{path}: row 41 has '{name}', which row 0 has not{WITHOUT_COLUMN.format(name)}"
    assert refusal(load_pairs, path) == message
    assert refusal(convert, [path], tmp_path / "out") == message
    assert len(load_inputs(path)) == 50


def test_a_column_that_begins_later_and_is_not_asked_for(tmp_path: Path) -> None:
    rows = rows_of()
    rows[41]["groups"] = "a"
    path = write(tmp_path / "a.jsonl", rows)
    assert load_pairs(path, rules=DataRules("ids")).unused == ("note",)
    rows[41]["user"] = rows[41].pop("groups")
    path = write(tmp_path / "a.jsonl", rows)
    assert load_pairs(path).unused == ("note",)


@pytest.mark.parametrize("line", ["{", "[1]", '{"inputs": ' + "[" * 200_000])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(rows_of()[0]) + "\n" + line + "\n")
    assert refusal(load_pairs, str(path)).startswith(f"{path}: not a readable .jsonl file: line 2")
