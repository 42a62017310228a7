"""A Gaussian process over settings and epochs: what a setting would have at its last epoch, from all that is known.

A point of the unit cube and the logarithm of the epoch make a row. The covariance is a Matérn 5/2 with one length for
each column (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, ch. 4), one constant for runs of
the same trial, and noise. The hyperparameters are the likeliest under priors that expect a smooth objective, found by
a few steps of L-BFGS from one place: the same rows give the same process.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import ndtr

from losstune.tuning.search.cube import Observed, Rows

STEPS = 12
JITTER = 1e-6


class Process:
    """A Gaussian process, conditioned on what was observed."""

    def __init__(self, seen: Observed) -> None:
        """Fit and condition: time grows with the cube of the rows."""
        self._shift, self._scale = float(seen.values.mean()), float(seen.values.std()) or 1.0
        self._values = (seen.values - self._shift) / self._scale
        squares = (seen.rows.T[:, :, None] - seen.rows.T[:, None, :]) ** 2
        same = (seen.trials[:, None] == seen.trials[None, :]).astype(float)
        start = np.concatenate([_typical(seen.rows.shape[1]), [np.log(0.05), np.log(0.05)]])
        bounds = [(-3.5, 4.0)] * seen.rows.shape[1] + [(-7.0, 1.0)] * 2
        found = minimize(
            _loss, start, (squares, same, self._values), "L-BFGS-B", True, bounds=bounds, options={"maxiter": STEPS}
        )
        self._logs = found.x
        self._rows = seen.rows / np.exp(self._logs[:-2])
        covariance = _matern(_distance(squares, self._logs)) + _noise(same, self._logs)
        self._factor = cho_factor(covariance, lower=True)
        self._weights = cho_solve(self._factor, self._values)

    def mean(self, rows: Rows) -> Rows:
        """What is expected at rows (m, width + 1): shape (m,)."""
        result: Rows = self._shift + self._scale * (self._near(rows) @ self._weights)
        return result

    def spread(self, rows: Rows) -> Rows:
        """The standard deviation of that, without noise: shape (m,)."""
        near = self._near(rows)
        explained = np.einsum("ij,ji->i", near, cho_solve(self._factor, near.T))
        result: Rows = self._scale * np.sqrt(np.maximum(1e-9, 1.0 - explained))
        return result

    def log_improvement(self, rows: Rows, best: float) -> Rows:
        """The logarithm of the expected improvement on a value, for rows (m, width + 1): shape (m,)."""
        spread = self.spread(rows)
        z = (self.mean(rows) - best) / spread
        log_density = -0.5 * z**2 - 0.5 * np.log(2.0 * np.pi)
        # z Φ(z) + φ(z), by φ's logarithm where the difference drowns in rounding (Ament et al., NeurIPS 2023)
        far = z < -5.0
        near = np.where(far, 0.0, z)
        gain = np.log(near * ndtr(near) + np.exp(-0.5 * near**2) / np.sqrt(2.0 * np.pi))
        tail = log_density - 2.0 * np.log(np.maximum(1.0, np.abs(z)))
        result: Rows = np.log(spread) + np.where(far, tail, gain)
        return result

    def likeness(self, rows: Rows, others: Rows) -> Rows:
        """The highest correlation of each row (m, width + 1) with one of the others: shape (m,), 0 … 1."""
        result: Rows = self._correlation(rows, others / np.exp(self._logs[:-2])).max(axis=1)
        return result

    def _near(self, rows: Rows) -> Rows:
        return self._correlation(rows, self._rows)

    def _correlation(self, rows: Rows, scaled_others: Rows) -> Rows:
        scaled = rows / np.exp(self._logs[:-2])
        squares = (scaled**2).sum(1)[:, None] + (scaled_others**2).sum(1)[None, :] - 2.0 * scaled @ scaled_others.T
        return _matern(np.sqrt(5.0 * np.maximum(0.0, squares)))


def _typical(width: int) -> Rows:
    """The middle of the prior of log lengths, longer the more columns there are."""
    return np.full(width, np.log(0.4) + 0.5 * np.log(width))


def _distance(squares: Rows, logs: Rows) -> Rows:
    return np.sqrt(5.0 * np.tensordot(np.exp(-2.0 * logs[:-2]), squares, 1))


def _matern(far: Rows) -> Rows:
    return (1.0 + far + far**2 / 3.0) * np.exp(-far)


def _noise(same: Rows, logs: Rows) -> Rows:
    own, single = np.exp(logs[-2:])
    result: Rows = own * same + (single + JITTER) * np.eye(len(same))
    return result


def _loss(logs: Rows, squares: Rows, same: Rows, values: Rows) -> tuple[float, Rows]:
    """Minus the log of likelihood times priors, and its gradient."""
    far = _distance(squares, logs)
    covariance = _matern(far) + _noise(same, logs)
    factor = cho_factor(covariance, lower=True)
    weights = cho_solve(factor, values)
    inverse = cho_solve(factor, np.eye(len(values)))
    # dL/dK, and of a Matérn 5/2 to a log length: 5/3 (1 + r) exp(−r) d²/l²
    slope = 0.5 * (inverse - np.outer(weights, weights))
    by_length = slope * (5.0 / 3.0) * (1.0 + far) * np.exp(-far)
    lengths = np.exp(-2.0 * logs[:-2]) * np.tensordot(squares, by_length, 2)
    own, single = np.exp(logs[-2:])
    gradient = np.concatenate([lengths, [own * (slope * same).sum(), single * np.trace(slope)]])
    middle = np.concatenate([_typical(len(logs) - 2), [np.log(0.05), np.log(0.05)]])
    width = np.concatenate([np.full(len(logs) - 2, 1.0), [1.5, 1.5]])
    prior = (logs - middle) / width
    value = 0.5 * values @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * (prior**2).sum()
    return float(value), gradient + prior / width
