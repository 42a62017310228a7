"""Points of a space as rows of a unit cube, where a model of a loss measures distances.

A point's *places* are one number of 0 … 1 for each parameter, NaN where it is not active: from low to high, by order
of magnitude where the range is, or the number of the value, shared out evenly. *Rows* are what distances are measured
between: places, with a column for each choice where choices have no order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losstune.tuning.space.search_space import Choices, Domain, Point, Range, SearchSpace

Rows = npt.NDArray[np.float64]
Key = tuple[tuple[str, object], ...]
INACTIVE = 0.5
"""Where a parameter lies that a point does not have: what it depends on has a column that says so."""


@dataclass(frozen=True)
class Observed:
    """What a model learns from: rows (n, width + 1) in 0 … 1, their values (n,), and the trial of each (n,)."""

    rows: Rows
    values: Rows
    trials: Rows


def key(point: Point) -> Key:
    """What points are compared by."""
    return tuple(sorted(point.items()))


class Cube:
    """The places of one space; all arrays of places have shape (points, parameters)."""

    def __init__(self, space: SearchSpace) -> None:
        """Take the parameters of a space."""
        self._parameters = space.parameters
        self._column = {parameter.name: at for at, parameter in enumerate(space.parameters)}

    def places(self, points: Sequence[Point]) -> Rows:
        """Where points lie."""
        return np.array(
            [
                [_place(p.domain, point[p.name]) if p.name in point else math.nan for p in self._parameters]
                for point in points
            ]
        ).reshape(len(points), len(self._parameters))

    def point(self, places: Rows) -> Point:
        """The point at the places (parameters,) of one."""
        lying = zip(self._parameters, places.tolist(), strict=True)
        return {own.name: _value(own.domain, place) for own, place in lying if not math.isnan(place)}

    def rows(self, places: Rows) -> Rows:
        """Places as rows: shape (points, width)."""
        columns = [np.empty((len(places), 0))]  # a space may have no parameter
        for parameter, own in zip(self._parameters, places.T, strict=True):
            if _ordered(parameter.domain):
                columns.append(np.where(np.isnan(own), INACTIVE, own)[:, None])
            else:
                count = len(parameter.domain.values or ())
                chosen = np.nan_to_num(own * (count - 1), nan=-1.0).round()
                columns.append((chosen[:, None] == np.arange(count)).astype(np.float64))
        return np.concatenate(columns, axis=1)

    def draw(self, count: int, random: np.random.Generator) -> Rows:
        """Places by chance, each value of a domain as likely as any other, with the space's own conditions."""
        return self._existing(self._anything(count, random))

    def near(self, places: Rows, widths: Rows, random: np.random.Generator) -> Rows:
        """Places by chance beside others: ranges move by shares ``widths`` (points,), choices change as often."""
        result = self._anything(len(places), random)
        for at, parameter in enumerate(self._parameters):
            own = places[:, at]
            if isinstance(parameter.domain, Range):
                moved = np.clip(own + widths * random.normal(size=len(places)), 0.0, 1.0)
                beside = _settled(parameter.domain, moved)
            else:
                beside = np.where(random.random(len(places)) < widths, result[:, at], own)
            result[:, at] = np.where(np.isnan(own), result[:, at], beside)
        return self._existing(result)

    def _anything(self, count: int, random: np.random.Generator) -> Rows:
        """Places by chance for every parameter, as if each were active."""
        uniform = random.random((count, len(self._parameters)))
        for at, parameter in enumerate(self._parameters):
            uniform[:, at] = _drawn(parameter.domain, uniform[:, at])
        return uniform

    def _existing(self, places: Rows) -> Rows:
        """Places without those of parameters that are not active."""
        for at, parameter in enumerate(self._parameters):
            for name, allowed in parameter.when.items():
                column = self._column[name]
                domain = self._parameters[column].domain
                wanted = np.array([_place(domain, value) for value in allowed])
                there = np.isclose(places[:, column][:, None], wanted[None, :], atol=1e-9).any(axis=1)
                places[~there, at] = math.nan
        return places


def _ordered(domain: Domain) -> bool:
    """Whether there is an order: of numbers, and of two choices any."""
    return isinstance(domain, Range) or len(domain.values) <= 2 or all(type(v) in (int, float) for v in domain.values)


def _counted(domain: Domain) -> int:
    """How many values share the places out evenly, 0 where there is a continuum, or orders of magnitude."""
    if isinstance(domain, Range) and domain.log and domain.low < domain.high:
        return 0
    return len(domain.values or ())


def _drawn(domain: Domain, uniform: Rows) -> Rows:
    """Places of values by chance, from uniform numbers."""
    count = _counted(domain)
    if count:
        return np.minimum(np.floor(uniform * count), count - 1) / max(1, count - 1)
    assert isinstance(domain, Range)
    return _settled(domain, uniform)


def _settled(domain: Range, places: Rows) -> Rows:
    """The nearest places that have a value."""
    count = _counted(domain)
    if count:
        return np.round(places * (count - 1)) / max(1, count - 1)
    if not domain.integer:
        return places
    ratio = domain.high / domain.low
    return np.log(np.round(domain.low * ratio**places) / domain.low) / math.log(ratio)


def _value(domain: Domain, place: float) -> object:
    count = _counted(domain)
    if count:
        values = domain.values
        assert values is not None
        return values[round(place * (count - 1))]
    assert isinstance(domain, Range)
    low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
    found = low * (1.0 - place) + high * place  # no difference of the two, which may be beyond all numbers
    found = math.exp(min(found, high)) if domain.log else found
    found = min(domain.high, max(domain.low, found))
    return round(found) if domain.integer else found


def _place(domain: Domain, value: object) -> float:
    if isinstance(domain, Choices):
        equal = [i for i, own in enumerate(domain.values) if own == value]
        # A study of before may hold 0 where its space says 0.0 now; that 1 is not true matters where both are choices.
        at = next((i for i in equal if type(domain.values[i]) is type(value)), equal[0])
        return at / max(1, len(domain.values) - 1)
    assert isinstance(value, int | float)
    count = _counted(domain)
    if count == 1:
        return 0.0
    if domain.log:
        return (math.log(value) - math.log(domain.low)) / (math.log(domain.high) - math.log(domain.low))
    if count and domain.step is not None:
        return round((value - domain.low) / domain.step) / (count - 1)
    return (value / 2 - domain.low / 2) / (domain.high / 2 - domain.low / 2)
