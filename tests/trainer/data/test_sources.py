"""Where ``--data`` leads, and which of what is there is taken."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from losstune.trainer.data.column_names import ColumnNames
from losstune.trainer.data.convert import convert
from losstune.trainer.data.pairs import load_inputs, load_pairs
from losstune.trainer.data.sources import find_arrays, is_there
from tests.trainer.data.test_folder import save_folder
from tests.trainer.data.test_formats import write_npz, write_parquet, write_safetensors
from tests.trainer.samples import PICKLED, Arrays, refusal, sample_arrays

NAMED = "inputs=anchor,targets=positive"


def renamed(**more: Any) -> Arrays:
    arrays = sample_arrays(rows=20)
    return {"anchor": arrays["inputs"], "positive": arrays["targets"], **more}


def in_memory(path: Path, arrays: Arrays) -> Arrays:
    return arrays


FORMS: dict[str, Any] = {
    "a.npz": write_npz,
    "a.safetensors": write_safetensors,
    "a.parquet": write_parquet,
    "folder": save_folder,
    "memory": in_memory,
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Writes arrays in one form; returns their source, and what messages call it."""

    def write(arrays: Arrays) -> tuple[Any, str]:
        path = tmp_path / request.param
        given = FORMS[request.param](path, arrays)
        return (given, "arrays in memory") if request.param == "memory" else (str(path), str(path))

    return write


def test_arrays_of_other_names(form: Any) -> None:
    source, _ = form(renamed(number=np.arange(20)))
    found = load_pairs(source, NAMED)
    assert found.digest == load_pairs(sample_arrays(rows=20)).digest
    assert (found.columns, found.unused) == (NAMED, ("number",))
    assert load_pairs(source, {"inputs": "anchor", "targets": "positive", "ids": "number"}).ids.tolist() == [*range(20)]


def test_a_name_that_nothing_has_is_named(form: Any) -> None:
    source, where = form(renamed())
    message = f"{where}: no column 'query', which is to be inputs; found anchor, positive: --columns inputs=NAME"
    assert refusal(load_pairs, source, "inputs=query,targets=positive") == message
    message = f"{where}: no array 'inputs'; found anchor, positive; if it has another name: --columns inputs=NAME"
    assert refusal(load_pairs, source) == message
    message = f"{where}: no array 'targets'; found anchor, positive; if it has another name: --columns targets=NAME"
    assert refusal(load_pairs, source, "inputs=anchor") == message


def test_inputs_alone_need_nothing_else_to_be_right(form: Any) -> None:
    source, _ = form({"anchor": sample_arrays(rows=20)["inputs"], "targets": np.zeros(20), "ids": np.zeros(20)})
    if not isinstance(source, dict):
        np.testing.assert_array_equal(load_inputs(source, NAMED)[:], sample_arrays(rows=20)["inputs"])


def test_a_path_that_the_system_refuses_is_told_as_one(tmp_path: Path) -> None:
    for source in ("x" * 300, f"/{'x' * 300}/*.parquet", f"{'x' * 300}.npz"):
        message = f"--data {source}: [Errno 36] File name too long: "
        assert refusal(load_pairs, source).startswith(message)
        assert refusal(convert, [source], tmp_path / "out").startswith(message)
        assert not is_there(source)


def test_nothing_at_all() -> None:
    assert refusal(load_pairs, {}) == "arrays in memory: no array 'inputs'; found none"


def test_only_what_is_wanted_is_looked_at(tmp_path: Path) -> None:
    """An array of objects, which is refused, does no harm where it is not asked for."""
    path = tmp_path / "a.npz"
    np.savez(path, **sample_arrays(rows=20), text=np.array([{}] * 20, dtype=object), allow_pickle=True)
    assert find_arrays(str(path), ColumnNames.of(None)).unused == ("text",)
    message = f"{path}: array 'text' {PICKLED}"
    assert refusal(load_pairs, str(path), "ids=text") == message


@pytest.mark.parametrize("name", ["A.NPZ", "a.Parquet"])
def test_the_end_of_a_name_counts_in_any_case(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as stream:
        (write_npz if "NPZ" in name else write_parquet)(stream, sample_arrays(rows=20))  # type: ignore[arg-type]
    assert len(load_pairs(str(tmp_path / name)).inputs) == 20


@pytest.mark.parametrize(
    "value",
    [[[1], [2, 3]], np.ma.masked_less(np.arange(3), 2), object(), torch.eye(2).to_sparse()],
    ids=["lists of unequal length", "masked values", "no array", "a sparse tensor"],
)
def test_what_is_not_used_may_be_anything(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a file; a program's was refused."""
    own = ModuleType("own_notes")
    given = {**sample_arrays(rows=20), "notes": value}
    own.pairs = lambda: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_notes", own)
    for source in (given, "own_notes:pairs"):
        assert load_pairs(source).unused == ("notes",)  # type: ignore[arg-type]


def test_a_pickle_in_an_archive_that_a_program_opened_is_refused(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {**sample_arrays(rows=20), "notes": np.array([{}], dtype=object)}
    np.savez(tmp_path / "a.npz", **arrays)
    with np.load(tmp_path / "a.npz") as opened:
        assert load_pairs(opened).unused == ("notes",)
        message = "--data: expected arrays: notes: Object arrays cannot be loaded when allow_pickle=False"
        assert refusal(load_pairs, opened, "ids=notes") == message


class TestColumnsOfADataFrame:
    def test_are_stacked(self) -> None:
        arrays = sample_arrays(rows=20)
        frame = pd.DataFrame({"inputs": [*arrays["inputs"]], "targets": arrays["targets"].tolist()})
        frame["ids"] = [f"doc-{row}" for row in range(20)]
        found = load_pairs(frame.to_dict("series"))
        assert found.digest == load_pairs({**arrays, "ids": [f"doc-{row}" for row in range(20)]}).digest

    def test_of_unequal_length_are_refused(self) -> None:
        rows = pd.Series([[1.0], [1.0, 2.0]])
        assert refusal(load_pairs, {"inputs": rows}).startswith("--data: expected arrays: inputs: ")
