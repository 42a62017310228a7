"""Ids of any kind as whole numbers, the same on every machine; the names of splits."""

import hashlib
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from losstune.trainer.data import labels
from losstune.trainer.data.labels import split_codes, whole_ids
from losstune.trainer.data.remedies import another
from tests.trainer.samples import refusal


def objects(*values: Any) -> np.ndarray[Any, Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


UUID = uuid.UUID("3f8a6d0e-9d6b-4f53-8a51-2b7c1d0e9f00")


class TestIds:
    def test_whole_numbers_stay(self) -> None:
        assert whole_ids(np.array([3, -1], dtype=np.int8), 2, "x").tolist() == [3, -1]
        assert whole_ids(objects(3, -1, Decimal("7.00")), 3, "x").tolist() == [3, -1, 7]

    def test_text_has_the_hash_that_is_documented_and_recorded(self) -> None:
        digest = hashlib.blake2b("Füße".encode(), digest_size=8).digest()
        assert whole_ids(np.array(["doc-1", "Füße"]), 2, "x").tolist() == [
            4752762565065110614,
            int.from_bytes(digest, "little", signed=True),
        ]

    @pytest.mark.parametrize(
        "same",
        [
            [np.array(["a", "bc"]), np.array([b"a", b"bc"]), objects("a", "bc"), objects(b"a", b"bc")],
            [objects(UUID), objects(str(UUID)), np.array([str(UUID)])],
            [objects(Decimal("1.50")), objects(Decimal("1.5")), objects("1.5")],
            [objects(10**30), objects(Decimal(10) ** 30)],
            [np.array([2**64 - 7], np.uint64), objects(2**64 - 7), objects(Decimal(2**64 - 7)), objects(-7)],
        ],
        ids=["text", "uuid", "decimal", "a large number", "without a sign"],
    )
    def test_one_identity_in_several_types_is_one_id(self, same: list[np.ndarray[Any, Any]]) -> None:
        assert len({tuple(whole_ids(ids, len(ids), "x").tolist()) for ids in same}) == 1

    def test_two_texts_of_one_hash_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(labels, "_hash", lambda content: len(content))
        assert whole_ids(np.array(["a", "bb", "a"]), 3, "x").tolist() == [1, 2, 1]
        assert refusal(whole_ids, np.array(["a", "b"]), 2, "x") == "x: ids 'a' and 'b' have the same hash; rename one"

    def test_a_number_that_is_the_hash_of_a_text_is_refused(self) -> None:
        text = whole_ids(np.array(["doc-1"]), 1, "x")[0]
        assert refusal(whole_ids, objects("doc-1", int(text)), 2, "x").endswith("have the same hash; rename one")

    @pytest.mark.parametrize(
        ("value", "text"), [(1.5, "1.5"), (None, "None"), (True, "True"), (Decimal("NaN"), "Decimal('NaN')")]
    )
    def test_what_is_no_identity_is_refused_by_row(self, value: object, text: str) -> None:
        message = f"x: ids row 1 is {text}; expected a whole number, text, uuid or bytes"
        assert refusal(whole_ids, objects("a", value), 2, "x") == message


class TestSplits:
    @pytest.mark.parametrize(
        "split",
        [
            np.array(["train", "val", "test"]),
            np.array(["Train", "VALIDATION", "Test"]),
            np.array([b"train", b"dev", b"test"]),
            objects("train", "valid", b"TEST"),
            np.array([0, 1, 2], dtype=np.uint8),
        ],
        ids=["text", "any case", "bytes", "objects", "numbers"],
    )
    def test_each_way_to_say_it(self, split: np.ndarray[Any, Any]) -> None:
        found = split_codes(split, "x")
        assert (found.dtype, found.tolist()) == (np.int8, [0, 1, 2])

    def test_numbers_outside_0_to_2(self) -> None:
        message = f"x: split row 1 is 3; allowed: 0 train, 1 val, 2 test{another('split')}"
        assert refusal(split_codes, np.array([0, 3]), "x") == message

    def test_floats(self) -> None:
        message = f"x: split has type float64; expected text: train, val, test{another('split')}"
        assert refusal(split_codes, np.array([0.0]), "x") == message
