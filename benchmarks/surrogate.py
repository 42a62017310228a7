"""The model between settings that were trained, stated here so that figures made with it can be judged:

- Curves are averaged over seeds, and within 12 windows that are even in log epochs: what jumps from one epoch to the
  next is not the setting's. Validation and test windows together are summed up by their first six principal
  components, and each has a Gaussian process over the settings in the unit cube (Matérn 5/2, one length for each
  column, a constant noise), at the likeliest hyperparameters. Its mean is a setting's curve without noise.
- A run's own curve is that, and a jitter from epoch to epoch, the one of a trained setting close by, and an offset: the
  difference of two whole runs of one setting where the file has seeds, else a draw from the processes' noise.
- Where the nearest trained setting diverged, a setting diverges at the same epoch.
"""

import warnings

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from search_curves import Curves, Run, Values, squares, windows
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from losstune.tuning.search.cube import Cube
from losstune.tuning.space.search_space import Point

COMPONENTS = 6
CLOSE = 5
"""Trained settings whose jitter a setting may have."""
FITTED = 160
"""Settings that hyperparameters are fitted on, by chance, where there are more: the likelihood takes their cube."""


class Surrogate:
    """The stated model between the trained settings.

    Attributes:
        error: of what the processes say of a setting when it is left out: the rank correlation of the true final test
            value with the measured one, and the share of its variance that is explained.
    """

    def __init__(self, curves: Curves) -> None:
        """Fit the model: some seconds."""
        self.curves = curves
        self._cube = Cube(curves.space)
        rows = self._cube.rows(self._cube.places(curves.points))
        mean = [np.concatenate([own[runs].mean(axis=0) for own in (curves.val, curves.test)]) for runs in curves.runs]
        self._diverges = np.array([bool(np.isnan(own).any()) for own in mean])
        self._all, self._kept = rows, rows[~self._diverges]
        averaging = windows(curves.epochs)
        self._spread = spreading(curves.epochs)
        smooth = np.array(mean)[~self._diverges].reshape(-1, 2, curves.epochs) @ averaging
        flat = smooth.reshape(len(smooth), -1)
        self._centre = flat.mean(axis=0)
        _, _, parts = np.linalg.svd(flat - self._centre, full_matrices=False)
        self._parts = parts[:COMPONENTS]
        scores = (flat - self._centre) @ self._parts.T
        self._processes = [Process(self._kept, own) for own in scores.T]
        measured = curves.val[[runs[0] for runs, bad in zip(curves.runs, self._diverges, strict=True) if not bad]]
        self._jitter = measured - measured @ averaging @ self._spread
        self._offsets = self._between_seeds(averaging)
        self._seconds = np.log([curves.seconds[runs].mean() for runs in curves.runs])
        left_out = self._centre + np.stack([own.left_out for own in self._processes], axis=1) @ self._parts
        self.error = _error(flat, left_out)
        self.best = self._highest()

    def run(self, point: Point, random: np.random.Generator) -> Run:
        rows = self._cube.rows(self._cube.places([point]))
        nearest = int(squares(rows, self._all)[0].argmin())
        seconds = float(np.exp(self._seconds[nearest]))
        if self._diverges[nearest]:
            return Run(self.curves.val[self.curves.runs[nearest][0]], seconds)
        close = np.argsort(squares(rows, self._kept)[0])[:CLOSE]
        val = np.split(self._mean(rows)[0], 2)[0]
        if len(self._offsets):
            offset = random.choice(self._offsets) * random.choice([-1.0, 1.0])
        else:
            drawn = np.array([own.noise * random.normal() for own in self._processes])
            offset = (drawn @ self._parts)[: len(val)]
        noisy = (val + offset) @ self._spread + self._jitter[random.choice(close)]
        return Run(np.clip(noisy, 0.0, 1.0), seconds)

    def truth(self, point: Point) -> float:
        return float(self._truths(self._cube.places([point]))[0])

    def _truths(self, places: Values) -> Values:
        """:meth:`truth` of many: shape (points,)."""
        rows = self._cube.rows(places)
        val, test = np.split(self._mean(rows), 2, axis=1)
        found = np.take_along_axis(test, val.argmax(axis=1)[:, None], axis=1)[:, 0]
        return np.where(self._diverges[squares(rows, self._all).argmin(axis=1)], 0.0, found)

    def _mean(self, rows: Values) -> Values:
        """Validation and test windows of settings, without noise: shape (settings, 2 · windows)."""
        means: Values = self._centre + np.stack([own.mean(rows) for own in self._processes], axis=1) @ self._parts
        return means

    def _highest(self) -> float:
        """The highest truth of the trained settings, of many by chance, and of what lies beside the best of all."""
        random = np.random.default_rng(0)
        places = np.concatenate([self._cube.places(self.curves.points), self._cube.draw(4000, random)])
        truths = self._truths(places)
        for width in (0.2, 0.1, 0.05, 0.02):
            beside = self._cube.near(
                np.repeat(places[np.argsort(-truths)[:10]], 100, axis=0), np.full(1000, width), random
            )
            places, truths = np.concatenate([places, beside]), np.concatenate([truths, self._truths(beside)])
        return float(truths.max())

    def _between_seeds(self, averaging: Values) -> Values:
        """Windows of whole runs less their setting's mean, scaled to the spread of single runs."""
        found = [
            (self.curves.val[runs] - self.curves.val[runs].mean(axis=0))
            @ averaging
            * (len(runs) / (len(runs) - 1)) ** 0.5
            for runs in self.curves.runs
            if len(runs) > 1 and not np.isnan(self.curves.val[runs]).any()
        ]
        return np.concatenate(found) if found else np.empty((0, averaging.shape[1]))


class Process:
    """A Gaussian process for one component."""

    def __init__(self, rows: Values, scores: Values) -> None:
        """Fit the hyperparameters, and condition on all rows."""
        kernel = ConstantKernel(1.0) * Matern(np.ones(rows.shape[1]), (0.05, 50.0), nu=2.5) + WhiteKernel(
            0.1, (1e-4, 2.0)
        )
        some = np.random.default_rng(0).permutation(len(rows))[:FITTED]
        self._shift, self._scale = float(scores.mean()), float(scores.std()) or 1.0
        scaled = (scores - self._shift) / self._scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length at its bound says that the column does not matter
            fitted = GaussianProcessRegressor(kernel).fit(rows[some], scaled[some]).kernel_
        smooth = fitted.k1
        self._height, self._lengths = smooth.k1.constant_value, smooth.k2.length_scale
        self.noise = float(fitted.k2.noise_level**0.5 * self._scale)
        covariance = smooth(rows) + (fitted.k2.noise_level + 1e-8) * np.eye(len(rows))
        factor = cho_factor(covariance)
        self._weights = cho_solve(factor, scaled)
        inverse = np.diag(cho_solve(factor, np.eye(len(rows))))
        self.left_out = self._shift + self._scale * (scaled - self._weights / inverse)
        self._rows = rows / self._lengths

    def mean(self, rows: Values) -> Values:
        """The scores of settings, without noise."""
        far = np.sqrt(5.0 * squares(rows / self._lengths, self._rows))
        near = self._height * (1.0 + far + far**2 / 3.0) * np.exp(-far)
        means: Values = self._shift + self._scale * (near @ self._weights)
        return means


def spreading(epochs: int) -> Values:
    """What draws curves through windows again, straight in log epochs: shape (windows, epochs)."""
    log = np.log(np.arange(1, epochs + 1))
    centres = log @ windows(epochs)
    return np.array([np.interp(log, centres, own) for own in np.eye(len(centres))])


def _error(measured: Values, left_out: Values) -> dict[str, float]:
    """How well the last test window of settings that were left out is told."""
    true, told = measured[:, -1], left_out[:, -1]
    ranks = np.corrcoef(np.argsort(np.argsort(true)), np.argsort(np.argsort(told)))[0, 1]
    rest = float(((true - told) ** 2).mean())
    return {"rank": float(ranks), "explained": 1.0 - rest / float(true.var()), "rmse": rest**0.5}
