"""Another study's values at this one's level: by what both know of the same settings and epochs."""

import numpy as np
import pytest

from losstune.tuning.search.cube import Observed
from losstune.tuning.search.levelled import levelled

RANDOM = np.random.default_rng(0)
PLACES = RANDOM.random((40, 2))
VALUES = np.sin(3 * PLACES[:, 0]) + PLACES[:, 1]


def observed(places: np.ndarray, values: np.ndarray) -> Observed:
    return Observed(places, values, np.arange(len(values), dtype=float))


def test_values_of_another_level_and_spread_become_alike() -> None:
    """Own values are a tenth as large, and lie elsewhere: what was seen there is then what would be seen here."""
    own = observed(PLACES[:20], 0.3 + 0.1 * VALUES[:20])
    found = levelled(own, observed(PLACES[20:], VALUES[20:]))
    assert found.values[:20] == pytest.approx(own.values)
    assert found.values[20:] == pytest.approx(0.3 + 0.1 * VALUES[20:], abs=0.05)


def test_a_column_tells_them_apart_and_trials_are_others() -> None:
    found = levelled(observed(PLACES[:10], VALUES[:10]), observed(PLACES[10:], VALUES[10:]))
    assert found.rows.shape == (40, 3)
    assert found.rows[:, 2].tolist() == [0.0] * 10 + [1.0] * 30
    assert len(set(found.trials.tolist())) == 40


def test_one_value_tells_the_level() -> None:
    found = levelled(observed(PLACES[:1], 0.1 * VALUES[:1]), observed(PLACES, VALUES))
    assert found.values[1] == pytest.approx(0.1 * VALUES[0], abs=0.02)
    assert found.values[1:].std() == pytest.approx(0.1 * VALUES.std(), rel=0.2)


def test_without_own_values_they_stay_as_they_are() -> None:
    found = levelled(observed(PLACES[:0], VALUES[:0]), observed(PLACES, VALUES))
    assert found.values.tolist() == VALUES.tolist()


def test_equal_values_are_no_obstacle() -> None:
    found = levelled(observed(PLACES[:3], np.zeros(3)), observed(PLACES[:5], np.zeros(5)))
    assert np.isfinite(found.values).all()
