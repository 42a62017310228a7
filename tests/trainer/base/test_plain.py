"""NumPy's numbers are no others than Python's."""

import numpy as np

from losstune.trainer.base.plain import plain


def test_numbers_and_arrays_are_pythons_wherever_they_stand() -> None:
    found = plain({"a": (np.int64(3), [np.bool_(True), None]), "b": np.arange(2), "c": np.float64(0.5), "d": "text"})
    assert found == {"a": [3, [True, None]], "b": [0, 1], "c": 0.5, "d": "text"}
    assert [type(value) for value in (*found["a"][:1], *found["a"][1], *found["b"], found["c"])] == [
        *(int, bool, type(None), int, int, float)
    ]
