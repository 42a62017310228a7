"""Looks at validation scores: which settings of a confirmation get no more seeds, as they have clearly lost.

After 4, 6 and 8 seeds each setting is tested against every other one that is still trained: Student's t of the paired
differences over the seeds, one-sided. A candidate is not tested against untuned starts: these are never picked, so that
a better one says nothing of which candidate is best, and what stopped for it could be better than what went on. So the
best candidate of a look goes on, as of all settings the best does.

The looks may be wrong in ``ERROR`` of all confirmations together: it is split evenly over looks and ordered pairs of
settings (Bonferroni; those that are not tested leave some of it unspent), and what is left of 5 % is for the claims on
the test split. Only the objective counts: the losses of ``make demo`` each win one measure and lose the other, and
looks that ask for both to be lost saved less than 1 % of its runs, where these save a third.

A test score is never looked at. What stopped is scored on the test split once, as all else, with the seeds that it has,
and two are compared on the seeds that both have. ``benchmarks/looks.py`` simulates that, with as much luck on the test
rows as on the validation rows: limits and claims hold as with ten seeds for all, but for losses so close that few stop.
What stops of those may have been unlucky: where seeds dominate its limits hold in 84 %.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losstune.tuning.confirm.bootstrap import Array

LOOKS = (4, 6, 8)
"""Seeds that every setting which is still trained has at a look."""

ERROR = 0.01
"""How often, at the most, any of the looks of a confirmation stops a setting that is no worse."""

Known = Mapping[str, Mapping[int, float | None]]
"""The objective of the runs that have ended, by setting and seed; None of one that failed."""


@dataclass(frozen=True)
class Stop:
    """A setting that gets no more seeds after so many, and one to which it has lost."""

    name: str
    seeds: int
    better: str

    def __str__(self) -> str:
        return f"{self.name} gets no more than {self.seeds} seeds: it has clearly lost to {self.better} in validation"


class Decided(NamedTuple):
    """What the looks so far have decided: stops by setting, and how many seeds the others may be trained with now."""

    stops: dict[str, Stop]
    open: int


def decided(known: Known, seeds: int, margin: float = 0.0, starts: Collection[str] = ()) -> Decided:
    """What follows from the runs that have ended; a look waits for all of the seeds before it.

    Args:
        known: all settings of the confirmation.
        seeds: that a setting gets if it does not stop.
        margin: by how much more than this a setting has to be worse, in the unit of the objective.
        starts: those of them that are untuned, and no candidates for the pick.
    """
    stops: dict[str, Stop] = {}
    level = ERROR / len(LOOKS) / max(1, len(known) * (len(known) - 1))
    for look in (look for look in LOOKS if look < seeds):
        going_on = [name for name in known if name not in stops]
        if any(seed not in known[name] for name in going_on for seed in range(look)):
            return Decided(stops, look)
        rows = {name: [known[name][seed] for seed in range(look)] for name in going_on}
        names = [name for name in going_on if None not in rows[name]]  # what fails with a seed is no measure of others
        values = np.array([rows[name] for name in names], dtype=np.float64).reshape(len(names), look)
        counts = tested(np.array([name in starts for name in names], dtype=bool))
        beats, means = (p_values(values, margin) <= level) & counts, values.mean(axis=1)
        for place, name in enumerate(names):
            if beats[:, place].any():
                stops[name] = Stop(name, look, names[int(np.argmax(np.where(beats[:, place], means, -np.inf)))])
    return Decided(stops, seeds)


def tested(is_start: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(A, A), whether setting i may stop setting j, of which settings are untuned (A,): a start stops no candidate."""
    return np.asarray(~is_start[:, None] | is_start[None])


def p_values(values: Array, margin: float = 0.0) -> Array:
    """(A, A), one-sided p that setting i is better than setting j by more than the margin, of values (A, S)."""
    from scipy.special import stdtr

    gaps = values[:, None] - values[None]
    error = gaps.std(axis=2, ddof=1) / np.sqrt(values.shape[1])
    ahead = gaps.mean(axis=2) - margin
    t = np.divide(ahead, error, out=np.where(ahead > 0, np.inf, -np.inf), where=error > 0)
    return np.asarray(stdtr(values.shape[1] - 1, -t))
