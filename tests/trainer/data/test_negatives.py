"""The array ``negatives``: in every form in which data can give it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from losstune.trainer.data.convert import convert
from losstune.trainer.data.labels import whole_ids
from losstune.trainer.data.negatives import NO_TARGET, NOTHING, Negatives
from losstune.trainer.data.npy import MappedArray
from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.remedies import FINITE, SHORT_ENOUGH, another
from tests.trainer.samples import Arrays, refusal, sample_arrays

ROWS, EACH, WIDE = 12, 3, 5
SAID = "negatives=hard"
NAMES = np.array([f"doc-{row}" for row in range(ROWS)])


def vectors() -> Arrays:
    """Those of row 0: a new vector, the target of row 4, none."""
    arrays = sample_arrays(rows=ROWS, dims=WIDE)
    hard = np.random.default_rng(1).normal(size=(ROWS, EACH, WIDE)).astype(np.float32)
    hard[0, 1], hard[0, 2] = arrays["targets"][4], 0
    return {**arrays, "ids": NAMES, "hard": hard}


def named() -> Arrays:
    """By id: the next rows' targets."""
    arrays = sample_arrays(rows=ROWS, dims=WIDE)
    return {**arrays, "ids": NAMES, "hard": NAMES[(np.arange(ROWS)[:, None] + np.arange(1, EACH + 1)) % ROWS]}


def found(source: Any) -> Negatives:
    negatives = load_pairs(source, SAID).negatives
    assert negatives is not None
    return negatives


def written(tmp_path: Path, form: str, arrays: Arrays) -> Any:
    """The arrays as data of some form."""
    if form == "memory":
        return arrays
    if form == ".npz":
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        return str(tmp_path / "a.npz")
    if form == "folder":
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        return str(tmp_path)
    lists = {name: array.tolist() for name, array in arrays.items()}
    if form == ".jsonl":
        rows = (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / "a.jsonl")
    pq.write_table(pa.table(lists), tmp_path / "a.parquet", row_group_size=5)
    return str(tmp_path / "a.parquet")


FORMS = ("memory", ".npz", "folder", ".parquet", ".jsonl")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("given", [vectors, named])
def test_every_form_gives_the_same(form: str, given: Any, tmp_path: Path) -> None:
    source = written(tmp_path, form, given())
    expected, other = load_pairs(given(), SAID), load_pairs(source, SAID)
    assert expected.negatives is not None
    assert other.negatives is not None
    assert (other.digest, other.unused) == (expected.digest, ())
    np.testing.assert_array_equal(other.negatives.rows, expected.negatives.rows)
    if expected.negatives.vectors is None:
        assert other.negatives.vectors is None
    else:
        assert other.negatives.vectors is not None
        np.testing.assert_array_equal(other.negatives.vectors[:], expected.negatives.vectors[:])
        assert isinstance(other.negatives.vectors, MappedArray) == (form == "folder")


@pytest.mark.parametrize("form", [".npz", ".parquet", ".jsonl"])
@pytest.mark.parametrize("given", [vectors, named])
def test_converted_they_are_the_same(form: str, given: Any, tmp_path: Path) -> None:
    source = written(tmp_path, form, given())
    convert([source], tmp_path / "folder", SAID)
    again, before = load_pairs(str(tmp_path / "folder"), "negatives=negatives"), load_pairs(source, SAID)
    assert again.digest == before.digest
    assert again.negatives is not None
    assert before.negatives is not None
    np.testing.assert_array_equal(again.negatives.rows, before.negatives.rows)


def test_a_vector_is_known_by_what_it_equals() -> None:
    arrays = vectors()
    arrays["hard"][3, 0] = arrays["targets"][3]
    rows = found(arrays).rows
    assert rows[0].tolist() == [NO_TARGET, 4, NOTHING]
    assert rows[3].tolist() == [3, NO_TARGET, NO_TARGET]
    by_content = {name: array for name, array in arrays.items() if name != "ids"}
    np.testing.assert_array_equal(found(by_content).rows, rows)


def test_an_equal_target_under_another_id_is_still_the_row_s_own() -> None:
    arrays = vectors()
    arrays["targets"][7] = arrays["targets"][2]
    arrays["hard"][7, 0] = arrays["hard"][5, 0] = arrays["targets"][2]
    rows = found(arrays).rows
    assert (rows[7, 0], rows[5, 0]) == (7, 2)


def test_ids_lead_to_their_first_row() -> None:
    arrays = named()
    arrays["ids"] = np.where(np.arange(ROWS) == 9, "doc-1", arrays["ids"])
    arrays["targets"][9] = arrays["targets"][1]
    arrays["hard"][arrays["hard"] == "doc-9"] = "doc-1"
    rows = found(arrays).rows
    assert rows[0].tolist() == [1, 2, 3]
    assert rows[7].tolist() == [8, 1, 10]


def test_whole_numbers_are_ids_too() -> None:
    arrays = {**named(), "ids": np.arange(ROWS) * 10}
    arrays["hard"] = (np.arange(ROWS)[:, None] + [1, 2]) % ROWS * 10
    assert found(arrays).rows[11].tolist() == [0, 1]


def test_a_column_of_that_name_is_ignored_unless_it_is_said() -> None:
    arrays = {**sample_arrays(rows=ROWS), "negatives": np.zeros(3)}
    plain = load_pairs({name: arrays[name] for name in ("inputs", "targets")})
    pairs = load_pairs(arrays)
    assert (pairs.negatives, pairs.digest, pairs.unused) == (None, plain.digest, ("negatives",))


def test_they_are_part_of_what_a_study_goes_on_with() -> None:
    arrays = vectors()
    one = load_pairs(arrays, SAID)
    arrays["hard"] = arrays["hard"].copy()
    arrays["hard"][5, 1, 0] += 1
    other = load_pairs(arrays, SAID)
    assert len({one.digest, other.digest, load_pairs(arrays).digest}) == 3
    assert one.bytes_in_memory > load_pairs(arrays).bytes_in_memory + arrays["hard"].nbytes
    assert one.columns == SAID


def replaced(given: Any, **arrays: Any) -> Arrays:
    return {**given(), **arrays}


def with_nan() -> Arrays:
    arrays = vectors()
    arrays["hard"][7, 2, 1] = np.nan
    return arrays


def with_stranger() -> Arrays:
    arrays = named()
    arrays["hard"][4, 1] = "doc-x"
    return arrays


MEND = another("negatives")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (replaced(vectors, hard=np.ones(12)), f"shape (12,); expected (12, k, 5), or (12, k) ids{MEND}"),
        (replaced(vectors, hard=np.ones((11, 2, 5))), f"shape (11, 2, 5); expected (12, k, 5), or (12, k) ids{MEND}"),
        (replaced(vectors, hard=np.ones((12, 0, 5))), f"shape (12, 0, 5); expected (12, k, 5), or (12, k) ids{MEND}"),
        (
            replaced(vectors, hard=np.ones((12, 2, 4))),
            "type float64 and 4 dimensions; expected float, and 5 as targets",
        ),
        (
            replaced(vectors, hard=np.ones((12, 2, 5), np.int64)),
            "type int64 and 5 dimensions; expected float, and 5 as targets",
        ),
        (
            with_nan(),
            f"negatives row 7 holds NaN, infinity or a number beyond float32{FINITE.format('negatives')}",
        ),
        (
            replaced(vectors, hard=np.where(np.arange(12)[:, None, None] == 5, 1e20, np.ones((12, 2, 5)))),
            f"negatives row 5 holds a vector with a length beyond float32{SHORT_ENOUGH.format('negatives')}",
        ),
        (
            with_stranger(),
            "negatives row 4 names doc-x, which is the id of no row; a row that has fewer negatives than others names "
            "its own target, which is left out",
        ),
        (
            replaced(named, hard=np.ones((12, 2))),
            f"negatives of two axes are ids of targets; found type float64{MEND}",
        ),
    ],
)
def test_what_is_no_such_array_is_refused(arrays: Arrays, message: str) -> None:
    assert message in refusal(load_pairs, arrays, SAID)


def test_ids_of_targets_without_ids_are_refused() -> None:
    arrays = {name: array for name, array in named().items() if name != "ids"}
    assert refusal(load_pairs, arrays, SAID) == (
        "arrays in memory: negatives of two axes are ids of targets; found ids of targets, and the data has no array "
        "ids: another column may be meant, --columns ids=NAME"
    )


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["doc-1", "doc-2"]] * 3 + [["doc-1"]] + [["doc-1", "doc-2"]] * 8, "negatives row 3 has 1"),
        ([["doc-1", "doc-2"]] * 5 + [["doc-1", None]] + [["doc-1", "doc-2"]] * 6, "negatives row 5 holds a null"),
        ([["doc-1", "doc-2"]] * 2 + [None] + [["doc-1", "doc-2"]] * 9, "negatives row 2 is null"),
    ],
)
def test_lists_of_ids_that_do_not_fit_are_named_by_row(lists: list[Any], message: str, tmp_path: Path) -> None:
    arrays = named()
    columns = {name: arrays[name].tolist() for name in ("inputs", "targets", "ids")}
    pq.write_table(pa.table({**columns, "hard": lists}), tmp_path / "a.parquet")
    assert message in refusal(load_pairs, str(tmp_path / "a.parquet"), SAID)
    rows = ({name: values[row] for name, values in {**columns, "hard": lists}.items()} for row in range(ROWS))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert message.rpartition(" row ")[0] in refusal(load_pairs, str(tmp_path / "a.jsonl"), SAID)


def test_ids_in_an_array_are_hashed_as_ids_are() -> None:
    pairs = make_pairs({**sample_arrays(rows=ROWS), "ids": NAMES, "negatives": NAMES[::-1, None]}, "x")
    assert pairs.negatives is not None
    ids = whole_ids(NAMES, ROWS, "x")
    np.testing.assert_array_equal(ids[pairs.negatives.rows[:, 0]], ids[::-1])
