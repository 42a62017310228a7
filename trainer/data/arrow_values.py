"""Columns of Arrow as NumPy arrays: every type that can mean one thing, whichever tool wrote it."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import OF_ONE_LENGTH, PADDED, WITHOUT_INNER_NULLS, WITHOUT_NULLS, another

if TYPE_CHECKING:
    import pyarrow as pa


def embeddings(array: "pa.Array", what: str, start: int) -> Array:
    """Rows of numbers (n, …): lists of any kind and depth, or tensors of one shape.

    Args:
        what: file and role, put before messages: ``pairs.parquet: inputs``.
        start: number of the first row.

    Raises:
        UserError: a row is null, holds a null or has another length; or the type is none of numbers.
    """
    import pyarrow as pa

    _refuse_null(array, what, start)
    if isinstance(array.type, pa.FixedShapeTensorType):
        _refuse_inner_null(array.storage.flatten(), array.storage.type.list_size, what, start)
        return np.asarray(array.to_numpy_ndarray())  # its axes in the order that the permutation says
    shape, leaf = [len(array)], _storage(array)
    while _is_list(leaf.type):
        shape.append(_common_length(leaf, shape, what, start))
        leaf = _storage(leaf.flatten())
        _refuse_inner_null(leaf, prod(shape[1:]), what, start)
    if pa.types.is_decimal(leaf.type):
        leaf = leaf.cast(pa.float64())
    if not _is_number(leaf.type) or len(shape) == 1:
        raise UserError(
            f"{what} has Arrow type {array.type}; expected a list of numbers in each row"
            f"{another(what.rpartition(' ')[2])}"
        )
    return np.asarray(leaf.to_numpy(zero_copy_only=False)).reshape(shape)


def label_lists(array: "pa.Array", what: str, start: int) -> Array:
    """Rows of labels (n, k), or of numbers as of :func:`embeddings`; the arguments as there.

    Raises:
        UserError: as of these two.
    """
    lists = _storage(array)
    inner = lists.type.value_type if _is_list(lists.type) else None
    if inner is None or _is_list(inner) or _is_number(inner):
        return embeddings(array, what, start)
    _refuse_null(array, what, start)
    width = _common_length(lists, [len(lists)], what, start)
    every = lists.flatten()
    _refuse_inner_null(every, width, what, start)
    return labels(every, what, start).reshape(len(lists), width)


def labels(array: "pa.Array", what: str, start: int) -> Array:
    """One value a row (n,), of ids or a split: whole numbers, or an object array of text, bytes or decimals.

    The arguments as of :func:`embeddings`.

    Raises:
        UserError: a row is null, or the type can be no label.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    _refuse_null(array, what, start)
    if isinstance(array.type, pa.UuidType):
        return np.array([str(value) for value in array.to_pylist()], dtype=object)
    array = _storage(array)
    kind = array.type
    if pa.types.is_dictionary(kind):  # decoded in Arrow, a long word would be copied for each of its rows
        if len(array) == 0:
            return np.empty(0, dtype=object)
        values, indices = labels(array.dictionary, what, 0), array.indices.to_numpy(zero_copy_only=False)
        return np.asarray(values[indices])
    if pa.types.is_run_end_encoded(kind):
        return labels(pc.run_end_decode(array), what, start)
    if _is_text(kind) or pa.types.is_decimal(kind) or pa.types.is_integer(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    raise UserError(
        f"{what} has Arrow type {array.type}; expected whole numbers, text, uuid or bytes"
        f"{another(what.rpartition(' ')[2])}"
    )


def _common_length(lists: "pa.Array", shape: list[int], what: str, start: int) -> int:
    """The length of every one of these lists, which are the elements of rows of ``shape`` so far."""
    import pyarrow.compute as pc

    lengths = np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    odd = np.flatnonzero(lengths != lengths[:1])
    if len(odd):
        row = start + odd[0] // prod(shape[1:])
        has, other = ("has", "has") if len(shape) == 1 else ("has a list of", "one of")
        mend = OF_ONE_LENGTH.format(what.rpartition(" ")[2], lengths[0]) if len(shape) == 1 else PADDED
        raise UserError(f"{what} row {row} {has} {lengths[odd[0]]} numbers, row {start} {other} {lengths[0]}{mend}")
    return int(lengths[0]) if len(lengths) else 0


def _storage(array: "pa.Array") -> "pa.Array":
    """The values of an extension type as they are stored."""
    import pyarrow as pa

    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _is_list(kind: "pa.DataType") -> bool:
    from pyarrow import types

    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or views)


def _is_number(kind: "pa.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_text(kind: "pa.DataType") -> bool:
    from pyarrow import types

    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    data = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    return bool(text or data or types.is_fixed_size_binary(kind))


def _refuse_null(array: "pa.Array", what: str, start: int) -> None:
    if array.null_count:
        role = what.rpartition(" ")[2]
        raise UserError(f"{what} row {start + _first_null(array)} is null{WITHOUT_NULLS.format(role)}")


def _refuse_inner_null(values: "pa.Array", width: int, what: str, start: int) -> None:
    """Refuse a null among the numbers of a row; each row has ``width`` of them."""
    if values.null_count:
        role = what.rpartition(" ")[2]
        raise UserError(
            f"{what} row {start + _first_null(values) // width} holds a null{WITHOUT_INNER_NULLS.format(role)}"
        )


def _first_null(array: "pa.Array") -> int:
    return int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
