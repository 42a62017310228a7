"""The point whose last epoch is expected to improve most on the best known.

Expected improvement (Jones et al., J. of Global Optimization 13, 1998) of a Gaussian process over settings and epochs,
so that a trial cut at epoch 3 tells what it can of the last one. There is no prior around the start points: they are
tried first and seen like any other, and where they are bad ones a prior costs more than it gains where they are good.
"""

from collections.abc import Collection, Sequence

import numpy as np

from losstune.tuning.search.cube import Cube, Key, Observed, Rows, key
from losstune.tuning.search.seen import MOST, MOST_EARLIER, Seen, last_epoch, observed_of, seen_of
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.study.trial import TrialView

FIRST = 8
"""Trials before the process is asked: the start points, then any."""
DRAWN = 600
BEST, BESIDE_BEST = 5, 40
"""Candidates: by chance, and beside each of the best trials."""


def promising(
    trials: Sequence[TrialView],
    space: SearchSpace,
    seed: int,
    known: Collection[Key],
    earlier: Sequence[TrialView] = (),
) -> Point | None:
    """The next point of a loss; None if all candidates are known.

    Args:
        trials: of the loss, those that run among them.
        seed: of the candidates.
        known: points that were proposed before.
        earlier: trials of another study, at points of this space; where there are enough, it is asked from the first.
    """
    random, cube = np.random.default_rng(seed), Cube(space)
    anywhere = cube.draw(DRAWN, random)
    last = last_epoch(trials, earlier)
    seen, seen_before = seen_of(trials, last, MOST), seen_of(earlier, last, MOST_EARLIER)
    if len(trials) + len(earlier) < FIRST or not (seen or seen_before):
        return _first(cube, anywhere, known)
    from threadpoolctl import threadpool_limits

    from losstune.tuning.search.levelled import levelled
    from losstune.tuning.search.process import Process  # loads SciPy, for which the first trials need not wait

    # The matrices are small: more threads take longer, several times so where the trials keep the cores busy.
    with threadpool_limits(1, "blas"):
        reached = max(own.epoch for own in [*seen, *seen_before])
        observed = observed_of(seen, cube, reached)
        if seen_before:
            observed = levelled(observed, observed_of(seen_before, cube, reached))
        process = Process(observed)
        told = cube.places(_points(seen) + _points(seen_before))
        expected = process.mean(_at_end(cube.rows(told), observed))
        best = np.repeat(told[np.argsort(-expected, kind="stable")[:BEST]], BESIDE_BEST, axis=0)
        closer = cube.near(best, 0.01 + 0.3 * random.random(len(best)) ** 2, random)  # most of them close by
        places = np.concatenate([anywhere, closer])
        rows = _at_end(cube.rows(places), observed)
        own = expected[: len(_points(seen))] if seen else expected
        score = process.log_improvement(rows, float(own.max()))
        running = [trial.point for trial in trials if trial.ending is None]
        if running:  # what these will tell is as good as known
            there = _at_end(cube.rows(cube.places(running)), observed)
            score += np.log1p(-0.99 * process.likeness(rows, there))
    return _first(cube, places[np.argsort(-score, kind="stable")], known)


def _points(seen: Sequence[Seen]) -> list[Point]:
    return list({own.trial.number: own.trial.point for own in seen}.values())


def _first(cube: Cube, places: Rows, known: Collection[Key]) -> Point | None:
    """The first point that was not proposed before."""
    return next((point for point in map(cube.point, places) if key(point) not in known), None)


def _at_end(rows: Rows, observed: Observed) -> Rows:
    """Rows with the last epoch's column, and this study's where there are two."""
    others = np.zeros((len(rows), observed.rows.shape[1] - rows.shape[1] - 1))
    return np.column_stack([rows, np.ones(len(rows)), others])
