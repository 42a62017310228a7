"""Equal and nearly equal rows, against all pairs measured one by one."""

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from losstune.trainer.data import likeness
from losstune.trainer.data.likeness import NEAR, Likeness, Sketch, joined
from losstune.trainer.data.npy import Array

RANDOM = np.random.default_rng(7)


def likeness_of(rows: Array, piece: int = 64, *, directions: bool = False) -> Likeness:
    sketch = Sketch(rows, directions=directions)
    for start in range(0, len(rows), piece):
        sketch.add(rows[start : start + piece])
    return sketch.likeness()


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return RANDOM.normal(size=shape).astype(np.float32)


def near_by_loops(rows: Array) -> set[tuple[int, int]]:
    """Pairs at 3 % of the usual distance or less, all columns at deviation 1."""
    scaled = rows.astype(np.float64) / rows.std(axis=0, dtype=np.float64)
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2) / np.sqrt(2 * rows.shape[1])
    return {(a, b) for a, b in np.argwhere(apart <= NEAR).tolist() if a < b}


class TestEqual:
    @pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
    @pytest.mark.parametrize("width", [1, 3, 8])
    def test_each_row_names_the_first_that_equals_it(self, dtype: type, width: int) -> None:
        rows = RANDOM.integers(0, 3, size=(200, width)).astype(dtype)
        seen: dict[bytes, int] = {}
        expected = [seen.setdefault(row.tobytes(), number) for number, row in enumerate(rows)]
        found = likeness_of(rows).equal
        assert (np.arange(200) if found is None else found).tolist() == expected

    def test_minus_zero_is_zero_and_nothing_else_is(self) -> None:
        rows = np.array([[0.0, 1], [-0.0, 1], [0, 1.0000001], [1e-45, 1]], dtype=np.float32)
        assert likeness_of(rows).equal is not None
        assert likeness_of(rows).equal.tolist() == [0, 0, 2, 3]  # type: ignore[union-attr]

    def test_where_all_differ_there_are_no_labels(self) -> None:
        assert likeness_of(np.arange(100_000, dtype=np.float32)[:, None] * np.float32(2**20)).equal is None


class TestNear:
    def test_noisy_copies_are_found_and_nothing_that_does_not_hold(self) -> None:
        rows = normal(60, 12)[np.arange(300) // 5] + np.float32(0.01) * normal(300, 12)
        found, true = {tuple(pair) for pair in likeness_of(rows).near.tolist()}, near_by_loops(rows)
        assert found <= true
        assert len(found) > 0.8 * len(true)
        assert len(np.unique(np.array(sorted(found)))) > 0.95 * 300

    def test_scale_and_shift_of_columns_change_nothing(self) -> None:
        rows = normal(60, 12)[np.arange(300) // 5] + np.float32(0.01) * normal(300, 12)
        moved = rows * np.geomspace(1e-3, 1e3, 12).astype(np.float32) + 5
        assert len(likeness_of(moved).near) > 0.8 * len(near_by_loops(rows))

    @pytest.mark.parametrize("dims", [1, 2, 4, 6])
    def test_rows_that_lie_densely_are_no_copies(self, dims: int) -> None:
        assert len(likeness_of(RANDOM.uniform(size=(4000, dims)).astype(np.float32)).near) == 0

    def test_words_have_no_distance(self) -> None:
        rows = np.repeat(RANDOM.integers(0, 30_000, size=(50, 64)), 2, axis=0)
        rows[::2, 0] += 1
        assert len(likeness_of(rows).near) == 0


class TestDirections:
    def test_scaled_copies_are_found(self) -> None:
        rows = normal(200, 6)
        rows[100:150] = 3 * rows[:50]
        found = likeness_of(rows, directions=True)
        assert {tuple(pair) for pair in found.one_direction.tolist()} == {(row, row + 100) for row in range(50)}
        assert len(likeness_of(rows).one_direction) == 0

    def test_opposite_directions_are_not_one(self) -> None:
        rows = normal(200, 6)
        rows[100:] = -rows[:100]
        assert len(likeness_of(rows, directions=True).one_direction) == 0


def test_constant_columns_and_rows_are_counted() -> None:
    rows = normal(3000, 5)
    rows[:, 1] = 4
    rows[:, 3] = np.arange(3000) // 2999  # differs in one row, which the sample does not hold
    rows[[3, 2500]] = 4
    found = likeness_of(rows)
    assert (found.constant_columns, found.columns, found.constant_rows) == (1, 5, 2)


def test_pieces_do_not_matter() -> None:
    rows = normal(60, 12)[np.arange(300) // 5] + np.float32(0.01) * normal(300, 12)
    rows[7] = rows[200]
    for other in (likeness_of(rows, piece=1), likeness_of(rows, piece=300)):
        assert other.equal is not None
        assert other.equal.tolist() == likeness_of(rows).equal.tolist()  # type: ignore[union-attr]


def test_memory_does_not_grow_with_the_width_of_rows() -> None:
    """Images in a folder took nine times their bytes and more, which is what the folder is there to avoid."""
    rows = RANDOM.integers(0, 256, size=(2000, 150, 150), dtype=np.uint8)
    tracemalloc.start()
    found = likeness_of(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * rows.nbytes
    assert (found.equal, found.constant_columns, len(found.near)) == (None, 0, 0)


def test_the_parts_of_the_sample_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normal(60, 12)[np.arange(300) // 5] + np.float32(0.01) * normal(300, 12)
    rows[:, 3] += 1000
    whole = {tuple(pair) for pair in likeness_of(rows).near.tolist()}
    monkeypatch.setattr(likeness, "NUMBERS_AT_ONCE", 40)
    assert {tuple(pair) for pair in likeness_of(rows).near.tolist()} == whole


def test_rows_that_are_no_numbers_are_for_others_to_refuse() -> None:
    rows = normal(30, 5)
    rows[3] = np.nan
    rows[4] = np.inf
    assert likeness_of(rows).equal is None


def test_joined_rows_have_one_label_over_any_number_of_links() -> None:
    labels = joined(6, np.array([[0, 1], [1, 4]]), np.array([0, 1, 2, 2, 4, 5]))
    assert len(set(labels.tolist())) == 3
    assert labels[0] == labels[1] == labels[4]
    assert labels[2] == labels[3]
