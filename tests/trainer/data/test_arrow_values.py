"""Columns of Arrow: every type that can mean one thing gives the same numbers; all else is refused by type and row."""

import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from losstune.trainer.data.arrow_values import embeddings, labels
from losstune.trainer.data.remedies import OF_ONE_LENGTH, PADDED, WITHOUT_INNER_NULLS, WITHOUT_NULLS
from tests.trainer.samples import refusal

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
LISTS = VECTORS.tolist()


def tensors(shape: list[int], permutation: list[int] | None = None) -> pa.Array:
    kind = pa.fixed_shape_tensor(pa.float32(), shape, permutation=permutation)
    width = int(np.prod(shape))
    flat = pa.array(np.arange(4 * width, dtype=np.float32))
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, width))


class Own(pa.ExtensionType):  # type: ignore[misc]
    """An extension type that only its storage says anything of, as a tool's own is."""

    def __init__(self) -> None:
        super().__init__(pa.list_(pa.float32()), "tests.own")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "Own":
        return cls()


COLUMNS: dict[str, pa.Array] = {
    "list": pa.array(LISTS, pa.list_(pa.float32())),
    "large list": pa.array(LISTS, pa.large_list(pa.float64())),
    "fixed-size list": pa.array(LISTS, pa.list_(pa.float32(), 3)),
    "list view": pa.array(LISTS, pa.list_view(pa.float32())),
    "large list view": pa.array(LISTS, pa.large_list_view(pa.float32())),
    "half float": pa.array(VECTORS.astype(np.float16).tolist(), pa.list_(pa.float16())),
    "decimal": pa.array([[Decimal(str(x)) for x in row] for row in LISTS], pa.list_(pa.decimal128(9, 3))),
    "extension": pa.ExtensionArray.from_storage(Own(), pa.array(LISTS, pa.list_(pa.float32()))),
    "a slice": pa.array([[9.0, 9.0], *LISTS, [7.0]], pa.list_(pa.float32()))[1:5],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_list_of_any_kind_is_its_numbers(name: str) -> None:
    np.testing.assert_array_equal(embeddings(COLUMNS[name], "x: inputs", 0), VECTORS)


@pytest.mark.parametrize("inner", [pa.list_(pa.int8()), pa.list_(pa.int8(), 2), pa.large_list(pa.int8())])
def test_nested_lists_are_axes(inner: pa.DataType) -> None:
    values = np.arange(24, dtype=np.int8).reshape(4, 3, 2)
    found = embeddings(pa.array(values.tolist(), pa.list_(inner)), "x: inputs", 0)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, values)


def test_tensors_of_one_shape_come_in_the_order_of_axes_that_they_mean() -> None:
    np.testing.assert_array_equal(embeddings(tensors([2, 3]), "x: inputs", 0), np.arange(24).reshape(4, 2, 3))
    found = embeddings(tensors([2, 3], permutation=[1, 0]), "x: inputs", 0)
    np.testing.assert_array_equal(found, np.arange(24).reshape(4, 2, 3).transpose(0, 2, 1))


def nested(*rows: Any) -> pa.Array:
    return pa.array(rows, pa.list_(pa.list_(pa.float32())))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1.0], None], pa.list_(pa.float32())), f"row 11 is null{WITHOUT_NULLS.format('inputs')}"),
        (pa.array([[1.0], None], pa.list_(pa.float32(), 1)), f"row 11 is null{WITHOUT_NULLS.format('inputs')}"),
        (
            pa.array([[1.0, 2.0], [3.0, None]], pa.list_(pa.float32())),
            f"row 11 holds a null{WITHOUT_INNER_NULLS.format('inputs')}",
        ),
        (
            pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32())),
            f"row 11 has 1 numbers, row 10 has 2{OF_ONE_LENGTH.format('inputs', 2)}",
        ),
        (nested([[1.0], [2.0]], [[3.0], None]), f"row 11 holds a null{WITHOUT_INNER_NULLS.format('inputs')}"),
        (nested([[1.0], [2.0]], [[3.0], [None]]), f"row 11 holds a null{WITHOUT_INNER_NULLS.format('inputs')}"),
        (nested([[1.0], [2.0]], [[3.0], [4.0, 5.0]]), f"row 11 has a list of 2 numbers, row 10 one of 1{PADDED}"),
    ],
    ids=["null", "null of fixed size", "null inside", "short", "null list", "null deep inside", "short inside"],
)
def test_a_row_that_is_no_vector_is_named(column: pa.Array, message: str) -> None:
    assert refusal(embeddings, column, "x: inputs", 10) == f"x: inputs {message}"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array(["a"]), "string"),
        (pa.array([b"a"]), "binary"),
        (pa.array([{"x": 1.0}]), "struct<x: double>"),
        (pa.array([["a"]]), "list<item: string>"),
        (pa.array([0], pa.timestamp("s")), "timestamp[s]"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), "map<string, int8>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_list_of_numbers_is_named_by_its_type(column: pa.Array, kind: str) -> None:
    assert refusal(embeddings, column, "x: targets", 0) == (
        f"x: targets has Arrow type {kind}; expected a list of numbers in each row: another column may be meant, "
        "--columns targets=NAME"
    )


TEXT = ["a", "b", "a"]


class TestLabels:
    @pytest.mark.parametrize(
        "column",
        [
            pa.array(TEXT),
            pa.array(TEXT, pa.large_string()),
            pa.array(TEXT, pa.string_view()),
            pa.array(TEXT).dictionary_encode(),
            pa.RunEndEncodedArray.from_arrays([1, 2, 3], TEXT),
        ],
        ids=lambda column: str(column.type),
    )
    def test_text(self, column: pa.Array) -> None:
        assert labels(column, "x: ids", 0).tolist() == TEXT

    def test_whole_numbers_bytes_and_decimals(self) -> None:
        assert labels(pa.array([1, 2], pa.uint8()), "x: ids", 0).dtype == np.uint8
        assert labels(pa.array([b"a", b"b"], pa.binary(1)), "x: ids", 0).tolist() == [b"a", b"b"]
        assert labels(pa.array([Decimal("1.0")]), "x: ids", 0).tolist() == [Decimal("1.0")]

    def test_a_uuid_is_its_text(self) -> None:
        value = uuid.UUID(int=7)
        assert labels(pa.array([value.bytes], pa.uuid()), "x: ids", 0).tolist() == [str(value)]

    @pytest.mark.parametrize(
        "column", [pa.array(["a", None]), pa.array([1, None]), pa.array(["a", None]).dictionary_encode()]
    )
    def test_a_null_is_named_by_row(self, column: pa.Array) -> None:
        assert refusal(labels, column, "x: ids", 10) == f"x: ids row 11 is null{WITHOUT_NULLS.format('ids')}"

    def test_another_type_is_named(self) -> None:
        assert refusal(labels, pa.array([1.5]), "x: ids", 0) == (
            "x: ids has Arrow type double; expected whole numbers, text, uuid or bytes: another column may be meant, "
            "--columns ids=NAME"
        )
