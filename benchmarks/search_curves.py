"""Learning curves that were trained once, and what they say of settings that were not: for ``search.py``.

A file NAME.npz has, for n trained settings, ``val`` and ``test`` (n, epochs), the objective on both splits after each
epoch (NaN once diverged), ``settings`` (n, k) with ``names`` (k,), and may have ``seconds`` an epoch, ``seed`` and
``horizon``, the epochs of the schedule. A choice that is no number stands by its index, a parameter that is not active
as NaN. NAME.yaml beside it is the space; without one it is read off the settings.

Between the trained settings stands a model, stated here so that its figures can be judged:

- Curves are averaged over seeds, and within 12 windows that are even in log epochs: what jumps from one epoch to the
  next is not the setting's. Validation and test windows together are summed up by their first six principal
  components, and each has a Gaussian process over the settings in the unit cube (Matérn 5/2, one length for each
  column, a constant noise), at the likeliest hyperparameters. Its mean is a setting's curve without noise.
- A run's own curve is that, and a jitter from epoch to epoch, the one of a trained setting close by, and an offset: the
  difference of two whole runs of one setting where the file has seeds, else a draw from the processes' noise.
- Where the nearest trained setting diverged, a setting diverges at the same epoch.

:class:`LookUp` has none of it: a setting's curve is that of the nearest trained one, as it was measured.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.tuning.search.cube import Cube
from losstune.tuning.space.reader import load_space, read_space, shipped_names
from losstune.tuning.space.search_space import Choices, Point, SearchSpace

Values = npt.NDArray[np.float64]
WINDOWS = 12
COMPONENTS = 6
CLOSE = 5
"""Trained settings whose jitter a setting may have."""
FITTED = 160
"""Settings that hyperparameters are fitted on, by chance, where there are more: the likelihood takes their cube."""


@dataclass(frozen=True)
class Curves:
    """What one file has, with runs of the same setting together: runs[i] are the rows of point i."""

    name: str
    space: SearchSpace
    points: list[Point]
    runs: list[list[int]]
    val: Values
    test: Values
    seconds: Values

    @property
    def epochs(self) -> int:
        """Epochs of each curve."""
        return int(self.val.shape[1])


def read_curves(file: Path, epochs: int | None = None) -> Curves:
    """Read a file and the space beside it; ``epochs`` cuts curves at a constant learning rate short."""
    with np.load(file, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    names = [str(name) for name in arrays["names"]]
    settings = arrays["settings"].astype(np.float64)
    beside = file.with_suffix(".yaml")
    space = load_space(str(beside)) if beside.exists() else space_of(file.stem, names, settings)
    places: dict[tuple[tuple[str, object], ...], list[int]] = {}
    for row, own in enumerate(settings):
        places.setdefault(tuple(point_of(space, names, own).items()), []).append(row)
    cut = slice(None, epochs)
    return Curves(
        file.stem,
        space,
        [dict(point) for point in places],
        list(places.values()),
        arrays["val"].astype(np.float64)[:, cut],
        arrays["test"].astype(np.float64)[:, cut],
        arrays["seconds"].astype(np.float64) if "seconds" in arrays else np.ones(len(settings)),
    )


def point_of(space: SearchSpace, names: Sequence[str], settings: Values) -> Point:
    """A row of settings as a point of the space."""
    found = dict(zip(names, settings.tolist(), strict=True))
    point: Point = {}
    for parameter in space.parameters:
        if not parameter.active(point):
            continue
        value, domain = found[parameter.name], parameter.domain
        if isinstance(domain, Choices):
            numbers = all(type(choice) in (int, float) for choice in domain.values)
            places = [float(choice) if numbers else at for at, choice in enumerate(domain.values)]  # type: ignore[arg-type]
            point[parameter.name] = domain.values[int(np.argmin(np.abs(np.array(places) - value)))]
        else:
            within = min(domain.high, max(domain.low, value))
            point[parameter.name] = round(within) if domain.integer else within
    return point


def space_of(name: str, names: Sequence[str], settings: Values) -> SearchSpace:
    """A space that holds all settings of a file named DATA_LOSS; its start is the shipped space's."""
    loss = next(own for own in sorted(shipped_names(), key=len, reverse=True) if f"_{own}" in name)
    lines = [f"loss_fn: {loss}", "space:"]
    for column, own in zip(names, settings.T, strict=True):
        values = np.unique(own)
        if len(values) <= 8:
            lines.append(f"  {column}: {{choices: [{', '.join(f'{value:g}' for value in values)}]}}")
        else:
            log = bool(values[0] > 0 and np.median(own) < values[-1] / 4)  # drawn evenly, the median is at a half
            low, high = values[0] if log or values[0] > 0.05 * values[-1] else 0.0, values[-1]
            shown = f"low: {np.format_float_positional(low)}, high: {np.format_float_positional(high)}"
            lines.append(f"  {column}: {{{shown}{', log: true' if log else ''}}}")
    start = [{key: value for key, value in point.items() if key in names} for point in load_space(loss).start]
    lines.append(f"start: {start}")
    return read_space(parse_yaml("\n".join(lines), f"{name}.yaml"))


@dataclass(frozen=True)
class Run:
    """One training that a search may see: the objective after each epoch, NaN once diverged; seconds an epoch."""

    val: Values
    seconds: float


class Replay(Protocol):
    """What a search is let loose on."""

    def run(self, point: Point, random: np.random.Generator) -> Run:
        """A training of this setting, with its noise."""

    def truth(self, point: Point) -> float:
        """The test value at the epoch that is best in validation, both without noise; 0 where diverged."""

    @property
    def best(self) -> float:
        """The highest :meth:`truth` that is known."""


class Landscape(Replay, Protocol):
    """That of one file of curves."""

    curves: Curves


class LookUp:
    """The curve of the nearest trained setting, as it was measured."""

    def __init__(self, curves: Curves) -> None:
        """Take the trained settings' places, and their test values."""
        self.curves = curves
        self._cube = Cube(curves.space)
        self._rows = self._cube.rows(self._cube.places(curves.points))
        self._windows = windows(curves.epochs)
        self._true = np.array([self._measured(rows) for rows in curves.runs])
        self.best = float(self._true.max())

    def run(self, point: Point, random: np.random.Generator) -> Run:
        row = random.choice(self.curves.runs[self._nearest(point)])
        return Run(self.curves.val[row], float(self.curves.seconds[row]))

    def truth(self, point: Point) -> float:
        return float(self._true[self._nearest(point)])

    def _nearest(self, point: Point) -> int:
        return int(_squares(self._cube.rows(self._cube.places([point])), self._rows)[0].argmin())

    def _measured(self, rows: list[int]) -> float:
        val, test = (own[rows].mean(axis=0) @ self._windows for own in (self.curves.val, self.curves.test))
        return 0.0 if np.isnan(val).any() else float(test[np.argmax(val)])


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
        nearest = int(_squares(rows, self._all)[0].argmin())
        seconds = float(np.exp(self._seconds[nearest]))
        if self._diverges[nearest]:
            return Run(self.curves.val[self.curves.runs[nearest][0]], seconds)
        close = np.argsort(_squares(rows, self._kept)[0])[:CLOSE]
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
        return np.where(self._diverges[_squares(rows, self._all).argmin(axis=1)], 0.0, found)

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
        far = np.sqrt(5.0 * _squares(rows / self._lengths, self._rows))
        near = self._height * (1.0 + far + far**2 / 3.0) * np.exp(-far)
        means: Values = self._shift + self._scale * (near @ self._weights)
        return means


def _squares(rows: Values, others: Values) -> Values:
    """Squared distances: shape (rows, others)."""
    squares: Values = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None, :] - 2.0 * rows @ others.T
    return np.maximum(0.0, squares)


def windows(epochs: int) -> Values:
    """What averages curves within windows that are even in log epochs: shape (epochs, windows)."""
    edges = np.unique(np.round(np.geomspace(1, epochs + 1, WINDOWS + 1)).astype(int)) - 1
    result = np.zeros((epochs, len(edges) - 1))
    for window, (low, high) in enumerate(pairwise(edges)):
        result[low:high, window] = 1.0 / (high - low)
    return result


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
