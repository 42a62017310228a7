"""Learning curves that were trained once, and what they say of settings that were not: for ``search.py``.

A file NAME.npz has, for n trained settings, ``val`` and ``test`` (n, epochs), the objective on both splits after each
epoch (NaN once diverged), ``settings`` (n, k) with ``names`` (k,), and may have ``seconds`` an epoch, ``seed`` and
``horizon``, the epochs of the schedule. A choice that is no number stands by its index, a parameter that is not active
as NaN. NAME.yaml beside it is the space; without one it is read off the settings.

For :class:`LookUp` a setting's curve is that of the nearest trained one, as it was measured; between the trained ones
stands the model of ``surrogate.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.tuning.search.cube import Cube
from losstune.tuning.space.reader import load_space, read_space, shipped_names
from losstune.tuning.space.search_space import Choices, Point, SearchSpace

Values = npt.NDArray[np.float64]
WINDOWS = 12


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
        return int(squares(self._cube.rows(self._cube.places([point])), self._rows)[0].argmin())

    def _measured(self, rows: list[int]) -> float:
        val, test = (own[rows].mean(axis=0) @ self._windows for own in (self.curves.val, self.curves.test))
        return 0.0 if np.isnan(val).any() else float(test[np.argmax(val)])


def squares(rows: Values, others: Values) -> Values:
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
