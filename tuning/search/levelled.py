"""What another study has seen, at the level of this one, for one Gaussian process over both.

Another study's data has another level and another spread of values, and another best setting, near this one's or not.
"""

import numpy as np

from losstune.tuning.search.cube import Observed, Rows
from losstune.tuning.search.process import Process

PRIOR = 2.0
"""How many values the ratio of the two spreads is worth that follows from the two levels."""


def levelled(own: Observed, earlier: Observed) -> Observed:
    """Both, with one more column that tells them apart, and the earlier values at this study's level.

    Level and spread are compared where both are known: at this study's settings and epochs.
    """
    rows = np.concatenate([_beside(own.rows, 0.0), _beside(earlier.rows, 1.0)])
    trials = np.concatenate([own.trials, -1.0 - earlier.trials])
    if not len(own.values):
        return Observed(rows, earlier.values, trials)
    there = Process(earlier).mean(own.rows)
    middle, middle_there = own.values.mean(), there.mean()
    spread = PRIOR * earlier.values.var()
    ratio = (abs(middle) / max(1e-9, abs(middle_there))) or 1.0
    squares = ((own.values - middle) ** 2).sum() + spread * ratio**2
    scale = np.sqrt(squares / (((there - middle_there) ** 2).sum() + spread + 1e-12))
    moved = middle + scale * (earlier.values - middle_there)
    return Observed(rows, np.concatenate([own.values, moved]), trials)


def _beside(rows: Rows, value: float) -> Rows:
    return np.column_stack([rows, np.full(len(rows), value)])
