"""Every message about data that is wrong, each produced once: it ends in an option of the command or a line of Python.

Not in the table: what is said of damaged files, of the machine, and of a source that is not there at all.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data.labels import split_codes
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.splits import split_rows
from tests.test_docs import ROOT
from tests.trainer.samples import refusal

ROWS = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
FLOATS = pa.list_(pa.float32())


def array_s(**given: Any) -> str:
    """Of arrays in memory."""
    return refusal(load_pairs, {"inputs": ROWS, "targets": ROWS, **given})


def table_s(**columns: Any) -> str:
    """Of a Parquet file."""
    pq.write_table(pa.table({"inputs": ROWS.tolist(), "targets": ROWS.tolist(), **columns}), "a.parquet")
    return refusal(load_pairs, "a.parquet")


def line_s(**row: Any) -> str:
    """Of JSON lines, the second of which is this."""
    good = {"inputs": [1.0, 2.0], "targets": [1.0, 2.0], "ids": 3}
    lines = pd.DataFrame({"row": [good, {name: value for name, value in {**good, **row}.items() if value != "absent"}]})
    Path("a.jsonl").write_text("".join(f"{pd.io.json.ujson_dumps(one)}\n" for one in lines["row"]))
    return refusal(load_pairs, "a.jsonl")


def negative_s(negatives: list[Any]) -> str:
    """Of a file of Arrow's with such negatives."""
    rows = {"inputs": ROWS.tolist(), "targets": ROWS.tolist(), "ids": [*"abcd"]}
    pf.write_feather(pa.table({**rows, "negatives": negatives}), "a.arrow")
    return refusal(load_pairs, "a.arrow", "negatives=negatives")


def npz_s(**arrays: Any) -> str:
    """Of an archive of NumPy's."""
    np.savez("a.npz", **{"inputs": ROWS, "targets": ROWS, **arrays}, allow_pickle=True)
    return refusal(load_pairs, "a.npz")


def folder_s(*names: str, **columns: Any) -> str:
    """Of a folder with these files, the last of which has other columns."""
    for name in names:
        Path("folder").mkdir(exist_ok=True)
        given = columns if name == names[-1] and columns else {"inputs": ROWS.tolist(), "targets": ROWS.tolist()}
        pq.write_table(pa.table(given), Path("folder", name))
    return refusal(load_pairs, "folder")


def split_s(*split: str) -> str:
    """Of a split of all rows."""
    return refusal(split_rows, load_pairs({"inputs": ROWS, "targets": ROWS, "split": np.array(split)}), 0)


def mapped_s() -> str:
    """Of an array on disk in Fortran's order."""
    Path("mapped").mkdir()
    np.save("mapped/inputs.npy", np.asfortranarray(ROWS))
    np.save("mapped/targets.npy", ROWS)
    return refusal(load_pairs, "mapped")


def feather_s() -> str:
    """Of a file of Feather's first version."""
    pf.write_feather(pa.table({"inputs": [1.0]}), "a.feather", version=1)
    return refusal(load_pairs, "a.feather")


NULL = pa.array([None, *ROWS[1:].tolist()], FLOATS)
HOLED = pa.array([[1.0, None], *ROWS[1:].tolist()], FLOATS)
SHORT = pa.array([*ROWS[1:].tolist(), [1.0]], FLOATS)
DEEP = pa.array([[[1.0]], [[1.0, 2.0]], [[1.0]], [[1.0]]], pa.list_(FLOATS))
PICKLED = np.array([{}] * 4, dtype=object)
MESSAGES: dict[str, tuple[Callable[[], str], str]] = {
    "null row": (lambda: table_s(inputs=NULL), "frame.dropna(subset=['inputs'])"),
    "null of fixed size": (
        lambda: table_s(inputs=NULL.cast(pa.list_(pa.float32(), 2))),
        "frame.dropna(subset=['inputs'])",
    ),
    "null inside": (lambda: table_s(targets=HOLED), "frame[[numpy.isfinite(row).all() for row in frame['targets']]]"),
    "short row": (lambda: table_s(targets=SHORT), "frame[frame['targets'].map(len) == 2]"),
    "short inside": (lambda: table_s(inputs=DEEP), "numpy.pad(row, (0, length - len(row)))"),
    "text column": (lambda: table_s(inputs=list("abcd")), "--columns inputs=NAME"),
    "dates as ids": (lambda: table_s(ids=pd.to_datetime(["2026-01-01"] * 4)), "--columns ids=NAME"),
    "null in a line": (lambda: line_s(inputs=None), "frame.dropna(subset=['inputs'])"),
    "a column that begins later": (lambda: line_s(groups="a"), "frame.drop(columns=['groups'])"),
    "a column of a later file": (
        lambda: folder_s("a.parquet", "b.parquet", inputs=ROWS.tolist(), targets=ROWS.tolist(), ids=[*"abcd"]),
        "frame.drop(columns=['ids'])",
    ),
    "absent in a line": (lambda: line_s(targets="absent"), "frame.dropna(subset=['targets'])"),
    "short line": (lambda: line_s(targets=[1.0]), "frame[frame['targets'].map(len) == 2]"),
    "ragged line": (lambda: line_s(targets=[[1.0], [1.0, 2.0]]), "numpy.pad(row, (0, length - len(row)))"),
    "text in a line": (lambda: line_s(inputs="text"), "--columns inputs=NAME"),
    "float id in a line": (lambda: line_s(ids=1.5), "--columns ids=NAME"),
    "no such array": (lambda: refusal(load_pairs, {"inputs": ROWS}), "--columns targets=NAME"),
    "no such name": (lambda: refusal(load_pairs, {"inputs": ROWS}, "targets=other"), "--columns targets=NAME"),
    "a role that is none": (lambda: refusal(load_pairs, {}, "input=a"), "--columns"),
    "names that are no pairs": (lambda: refusal(load_pairs, {}, "anchor"), "inputs=anchor,targets=positive"),
    "a role twice": (lambda: refusal(load_pairs, {}, "ids=a,ids=b"), "--columns"),
    "a name that is none": (lambda: refusal(load_pairs, {}, "ids="), "--columns"),
    "pickled": (lambda: npz_s(inputs=PICKLED), "numpy.stack of rows that are arrays"),
    "column by column": (mapped_s, "numpy.ascontiguousarray"),
    "old Feather": (feather_s, "version 2, which pandas does"),
    "flat inputs": (lambda: array_s(inputs=np.ones(4)), "inputs.reshape(len(inputs), -1)"),
    "deep targets": (lambda: array_s(targets=np.ones((4, 2, 2))), "targets.reshape(len(targets), -1)"),
    "complex inputs": (lambda: array_s(inputs=ROWS * 1j), "--columns inputs=NAME"),
    "bfloat16": (lambda: array_s(inputs=ROWS.astype(np.float16).view("V2")), "tensor.float().numpy()"),
    "ragged in memory": (lambda: array_s(inputs=[[1.0], [1.0, 2.0]]), "numpy.pad(row, (0, length - len(row)))"),
    "masked in memory": (lambda: array_s(targets=np.ma.masked_equal(np.eye(4), 0)), "getmaskarray(targets)"),
    "text in memory": (lambda: array_s(inputs=[*"abcd"]), "--columns inputs=NAME"),
    "floats as ids": (lambda: array_s(ids=np.array([1, 2, 3, np.nan])), "frame.dropna(subset=['ids'])"),
    "a column of groups": (lambda: array_s(groups=np.ones((4, 1), int)), "--columns groups=NAME"),
    "a target in two splits": (
        lambda: array_s(targets=np.ones((4, 2)), split=np.array(["train", "val", "test", "test"])),
        "leave split to losstune",
    ),
    "one negative a row": (lambda: negative_s(["a", "b", "c", "d"]), "array[:, None]"),
    "one vector a row": (lambda: negative_s(ROWS.tolist()), "array[:, None]"),
    "objects in memory": (lambda: array_s(inputs=PICKLED), "numpy.stack(frame['inputs'])"),
    "whole targets": (lambda: array_s(targets=np.ones((4, 2), np.int8)), "numpy.float32(array)"),
    "not finite": (lambda: array_s(targets=np.full((4, 2), np.nan)), "keep = (abs(targets) < 3.4e38)"),
    "no direction": (lambda: array_s(targets=np.zeros((4, 2))), "numpy.linalg.norm(targets, axis=1) > 1e-6"),
    "length beyond float32": (lambda: array_s(targets=ROWS * 1e20), "targets / abs(targets).max()"),
    "unequal rows": (lambda: array_s(inputs=np.ones((3, 2))), "array[:3]"),
    "one id, two targets": (lambda: array_s(ids=np.zeros(4, int)), "--columns ids=NAME"),
    "no groups": (
        lambda: refusal(load_pairs, {"inputs": ROWS, "targets": ROWS}, rules=DataRules("groups")),
        "--columns groups=NAME",
    ),
    "a group in two splits": (
        lambda: array_s(targets=np.eye(4), groups=np.zeros(4, int), split=np.array(["train", "val", "test", "test"])),
        "--split-by ids",
    ),
    "short split": (lambda: array_s(split=np.array(["train"])), "--columns split=NAME"),
    "unknown split": (lambda: array_s(split=np.array(["eval"] * 4)), "frame['split'].replace('eval', 'train')"),
    "split 3": (lambda: array_s(split=np.full(4, 3)), "--columns split=NAME"),
    "split 0.5": (lambda: refusal(split_codes, np.full(4, 0.5), "x"), "--columns split=NAME"),
    "all for training": (lambda: split_s("test", "test", "val", "val"), "numpy.resize(['train'] * 3"),
    "none for validation": (lambda: split_s("test", "test", "test", "test"), "numpy.resize(['train'] * 3"),
    "some names say a split": (lambda: folder_s("train.parquet", "more.parquet"), "--data 'folder/train-*.parquet'"),
    "a column that one lacks": (
        lambda: folder_s("a.parquet", "b.parquet", inputs=ROWS.tolist()),
        "--data 'folder/part-*.parquet'",
    ),
    "a pattern without files": (lambda: refusal(load_pairs, "*.parquet"), "--data"),
    "a kind that is not read": (lambda: refusal(load_pairs, "a.csv"), "--data my_data:pairs"),
    "nothing that is read": (lambda: refusal(load_pairs, "digit"), "package.module:function"),
}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_names_what_mends_it(name: str) -> None:
    make, remedy = MESSAGES[name]
    assert remedy in make()


def with_row(number: float, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in float64, as a user has them, with this one in all of row 5."""
    array = np.random.default_rng(1).normal(size=(60, *shape))
    array[5] = number
    return array


LINES: dict[str, tuple[str, np.ndarray]] = {
    "NaN": ("inputs", with_row(np.nan, (3,))),
    "infinite": ("targets", with_row(-np.inf, (3,))),
    "beyond float32": ("inputs", with_row(1e39, (3,))),
    "negative beyond float32": ("targets", with_row(-1e39, (3,))),
    "beyond float32 in an image": ("inputs", with_row(1e39, (3, 4))),
    "NaN in an image": ("inputs", with_row(np.nan, (2, 3, 4))),
    "beyond float32 in a negative": ("negatives", with_row(1e39, (2, 3))),
    "zero": ("targets", with_row(0, (3,))),
    "nearly zero": ("targets", with_row(-5e-7, (3,))),
    "length beyond float32": ("targets", with_row(3e19, (3,))),
    "length of a negative beyond float32": ("negatives", with_row(3e19, (2, 3))),
    "all nearly zero": ("targets", 1e-8 * with_row(1, (3,))),
    "all beyond float32 in length": ("targets", 1e25 * with_row(1, (3,))),
}


@pytest.mark.parametrize("name", LINES)
def test_the_line_that_a_message_ends_in_mends_it(name: str) -> None:
    role, array = LINES[name]
    arrays = {"inputs": with_row(1, (3,)), "targets": with_row(1, (3,)), role: array}
    columns = {"negatives": "negatives"} if role == "negatives" else {}
    message = refusal(load_pairs, arrays, columns)
    assert f": {role} row " in message
    keep, _, scaled = message.partition("keep = ")[2].partition("; where all are ")
    if name.startswith("all"):
        arrays[role] = eval(scaled.partition(", ")[2], {"numpy": np, **arrays})
    else:
        kept = eval(keep, {"numpy": np, **arrays})
        assert np.flatnonzero(~kept).tolist() == [5]
        arrays = {name: array[kept] for name, array in arrays.items()}
    found = load_pairs(arrays, columns)
    assert len(found.ids) == len(arrays["inputs"])
    split_rows(found, 0)


def raised(module: str) -> list[str]:
    """A pattern for each message of a module."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "trainer/data" / module).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError"
    ]
    parts = [call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else [call.args[0]] for call in calls]
    return [
        "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(?:.|\n)*" for part in each)
        for each in parts
    ]


OTHERS = ("an\\ object\\ of\\ columns", "\\ is\\ (?:.|\n)*;\\ expected\\ a\\ list")
"""What says itself which row to take out, and that a line is no row."""


@pytest.mark.parametrize("module", ["pair_checks", "arrow_values", "column_names", "pairs", "json_lines"])
def test_no_message_is_left_out(module: str) -> None:
    said = [make() for make, _ in MESSAGES.values()]
    left = [pattern for pattern in raised(f"{module}.py") if not any(re.fullmatch(pattern, one) for one in said)]
    assert [pattern for pattern in left if not any(other in pattern for other in OTHERS)] == []
