"""Whole numbers of any width: what they are kept in, and that they come out as if they had been int64."""

import numpy as np
import pytest

from losstune.trainer.data.narrow import NarrowArray, narrow


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("int8", "int8"),
        ("int16", "int16"),
        ("uint16", "int32"),
        (">i4", "int32"),
        ("uint32", "int64"),
        ("int64", "int64"),
        ("uint64", "int64"),
    ],
)
def test_every_type_is_kept_in_the_narrowest_signed_one_that_holds_it(given: str, kept: str) -> None:
    info = np.iinfo(given)
    array = np.array([[info.min, 1], [min(info.max, 2**63 - 1), 0]], dtype=given)
    rows = narrow(array)
    inside = rows.kept if isinstance(rows, NarrowArray) else rows
    assert inside.dtype == np.dtype(kept)
    assert rows.dtype == np.int64
    assert (rows.shape, rows.ndim, rows.size, len(rows), rows.nbytes) == ((2, 2), 2, 4, 2, inside.nbytes)
    assert rows[:].tolist() == array.tolist()


def test_rows_are_copies_in_int64_by_slice_and_by_number() -> None:
    rows = narrow(np.arange(-6, 6, dtype=np.int8).reshape(6, 2))
    assert isinstance(rows, NarrowArray)
    found = rows[np.array([5, 0])]
    assert (found.dtype, found.tolist()) == (np.int64, [[4, 5], [-6, -5]])
    rows[1:3][:] = 99
    assert rows[1:3].tolist() == [[-4, -3], [-2, -1]]
