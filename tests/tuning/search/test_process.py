"""The Gaussian process, against scikit-learn's, plain formulas and functions that are known."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from losstune.tuning.search.cube import Observed, Rows
from losstune.tuning.search.process import Process, _loss


def observed(count: int = 40, width: int = 3, noise: float = 0.05, seed: int = 0) -> Observed:
    random = np.random.default_rng(seed)
    rows = random.random((count, width))
    values = np.sin(4 * rows[:, 0]) + rows[:, 1] + noise * random.normal(size=count)
    return Observed(rows, values, np.repeat(np.arange(count // 2), 2).astype(float))


def other_rows(count: int = 25, width: int = 3) -> Rows:
    return np.random.default_rng(9).random((count, width))


def test_it_is_scikit_learns_at_the_same_hyperparameters() -> None:
    seen, new = observed(), other_rows()
    seen = Observed(seen.rows, seen.values, np.arange(40.0))  # scikit-learn knows no trials: one value each
    process = Process(seen)
    own, single = np.exp(process._logs[-2:])
    kernel = Matern(np.exp(process._logs[:-2]), nu=2.5)
    scaled = (seen.values - seen.values.mean()) / seen.values.std()
    theirs = GaussianProcessRegressor(kernel, alpha=own + single + 1e-6, optimizer=None).fit(seen.rows, scaled)
    mean, spread = theirs.predict(new, return_std=True)
    assert process.mean(new) == pytest.approx(seen.values.mean() + seen.values.std() * mean, abs=1e-6)
    assert process.spread(new) == pytest.approx(seen.values.std() * spread, abs=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    seen = observed(20)
    squares = (seen.rows.T[:, :, None] - seen.rows.T[:, None, :]) ** 2
    same = (seen.trials[:, None] == seen.trials[None, :]).astype(float)
    logs = np.array([-1.0, 0.3, 1.0, -2.0, -3.0])
    numeric = approx_fprime(logs, lambda own: _loss(own, squares, same, seen.values)[0], 1e-6)
    assert _loss(logs, squares, same, seen.values)[1] == pytest.approx(numeric, abs=1e-3)


def test_it_learns_which_columns_matter() -> None:
    process = Process(observed(80))
    new = other_rows()
    assert np.abs(process.mean(new) - np.sin(4 * new[:, 0]) - new[:, 1]).max() < 0.2
    assert process._logs[2] > process._logs[:2].max()  # a long length: no matter


def test_values_of_one_trial_count_less_than_those_of_several() -> None:
    rows = np.full((6, 2), 0.5)
    values = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    several = Process(Observed(rows, values, np.arange(6.0))).spread(rows)[0]
    one = Process(Observed(rows, values, np.zeros(6))).spread(rows)[0]
    assert one > several


def test_expected_improvement_is_its_integral() -> None:
    process = Process(observed())
    new, best = other_rows(), 1.5
    mean, spread = process.mean(new), process.spread(new)
    grid = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    for at in range(0, len(new), 5):
        drawn = np.maximum(0.0, mean[at] + spread[at] * grid - best).mean()
        if drawn > 1e-6:
            assert np.exp(process.log_improvement(new, best)[at]) == pytest.approx(drawn, rel=0.02)


def test_improvement_is_ordered_where_it_is_next_to_nothing() -> None:
    process = Process(observed())
    new = other_rows()
    hopeless = process.log_improvement(new, 50.0)
    assert np.isfinite(hopeless).all()
    assert np.isfinite(process.log_improvement(new, -50.0)).all()
    z = (process.mean(new) - 50.0) / process.spread(new)
    assert (np.argsort(hopeless) == np.argsort(np.log(process.spread(new)) - 0.5 * z**2 - 2 * np.log(-z))).all()


def test_likeness_is_one_at_a_point_and_falls_with_distance() -> None:
    process = Process(observed())
    here = np.array([[0.2, 0.5, 0.5]])
    there = here + np.array([[0.0, 0, 0], [0.1, 0, 0], [0.5, 0, 0]])
    found = process.likeness(there, here)
    assert found[0] == pytest.approx(1.0)
    assert found[0] > found[1] > found[2] > 0


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.0, 0.0, 0.0]])
def test_few_and_equal_values_are_no_error(values: list[float]) -> None:
    rows = np.random.default_rng(0).random((len(values), 3))
    process = Process(Observed(rows, np.array(values), np.arange(float(len(values)))))
    assert process.mean(rows) == pytest.approx(values)
    assert np.isfinite(process.log_improvement(rows, max(values))).all()
