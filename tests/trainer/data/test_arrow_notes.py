"""What pandas and datasets write beside columns, and what no tool wrote."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from losstune.trainer.data.arrow_notes import ArrowNotes

PLAIN = pa.schema([("a", pa.int8())])


def test_an_evenly_spaced_index_of_pandas_is_only_a_note() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=pd.RangeIndex(10, 25, 5, name="ids"))
    table = pa.Table.from_pandas(frame)
    assert table.column_names == ["a"]
    assert ArrowNotes.of(table.schema).ranges == {"ids": range(10, 25, 5)}
    assert ArrowNotes.of(pa.Table.from_pandas(frame.reset_index(drop=True)).schema).ranges == {}


def test_classes_have_names_by_their_numbers() -> None:
    label = {"names": ["train", "validation"], "_type": "ClassLabel"}
    features = {"info": {"features": {"split": label, "inputs": {"_type": "List"}}}}
    notes = ArrowNotes.of(PLAIN.with_metadata({"huggingface": json.dumps(features)}))
    assert notes.named("split", np.array([1, 0])).tolist() == ["validation", "train"]
    assert notes.named("split", np.array([-1])).tolist() == [-1]
    assert notes.named("other", np.array([1])).tolist() == [1]


def test_a_number_without_a_class_changes_no_other_of_its_batch() -> None:
    """It did: rows of one class were of two groups, by the batch that they were read in."""
    notes = ArrowNotes({}, {"groups": ["a", "b"]})
    for codes, names in (([0, 1, 0], ["a", "b", "a"]), ([1, -1, 2], ["b", -1, 2])):
        assert notes.named("groups", np.array(codes)).tolist() == names


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"pandas": "{"},
        {"pandas": "[]"},
        {"pandas": '{"index_columns": 1}'},
        {"huggingface": '{"info": 1}'},
        {"huggingface": '{"info": {"features": {"split": {"names": 1}}}}'},
        {"huggingface": "[" * 100_000},
    ],
)
def test_what_is_not_as_they_write_it_says_nothing(metadata: dict[str, Any] | None) -> None:
    notes = ArrowNotes.of(PLAIN.with_metadata(metadata))
    assert (notes.ranges, notes.classes) == ({}, {})
