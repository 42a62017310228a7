"""What is known of trials at their epochs, and what of it a process is fitted on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from losstune.tuning.search.cube import Cube, Observed
from losstune.tuning.study.trial import TrialView

MOST = 120
"""Values that are fitted, the best two thirds and the latest: the time of a proposal grows with their cube."""
MOST_EARLIER = 60
"""The same of another study's."""
REACH = 2.0
"""How far under the middle values are told apart, in times of how far the best lies over it."""


@dataclass(frozen=True)
class Seen:
    """A trial's best value so far at an epoch, −inf where it diverged."""

    trial: TrialView
    epoch: int
    value: float


def last_epoch(*studies: Sequence[TrialView]) -> int:
    """The highest epoch that a trial of these reached, 0 if there is none."""
    return max((trial.epochs for trials in studies for trial in trials), default=0)


def seen_of(trials: Sequence[TrialView], last: int, most: int) -> list[Seen]:
    """The values that are known, ``most`` at the most.

    Args:
        last: the epoch where what diverged has its −inf, and what used its epochs its best.
    """
    found: list[Seen] = []
    for trial in trials:
        values = {epoch: value for epoch, value in trial.rungs.items() if math.isfinite(value)}
        ending = trial.ending
        if ending is not None and ending.diverged:
            values = {last: -math.inf}
        elif ending is not None and ending.state == "complete" and ending.best is not None:
            values[last] = ending.best  # also where patience ended it: it had no more to gain
        found += [Seen(trial, epoch, value) for epoch, value in values.items()]
    order = sorted(range(len(found)), key=lambda at: -found[at].value)
    best, others = order[: most * 2 // 3], sorted(order[most * 2 // 3 :])
    return [found[at] for at in sorted(best + others[-(most - len(best)) :])]


def observed_of(seen: Sequence[Seen], cube: Cube, last: int) -> Observed:
    """What a process is fitted on. Far below the middle all values are made equal: they say little of the best.

    Args:
        last: the epoch whose column is 1.
    """
    values = np.array([own.value for own in seen])
    finite = values[np.isfinite(values)]
    middle, best = (float(np.median(finite)), float(finite.max())) if len(finite) else (0.0, 0.0)
    times = [math.log(max(1, own.epoch)) / math.log(max(2, last)) for own in seen]
    rows = np.column_stack([cube.rows(cube.places([own.trial.point for own in seen])), times])
    numbers = np.array([own.trial.number for own in seen], dtype=np.float64)
    return Observed(rows, np.maximum(values, middle - REACH * (best - middle)), numbers)
