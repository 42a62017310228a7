"""Whether another study's trials inform the next proposal: where they order this one's settings as its own do.

Else they would lead astray. It is asked anew for each proposal, of all that is told by then: a study that was left out
comes in again where more trials speak for it.
"""

from collections.abc import Sequence
from itertools import combinations

from losstune.tuning.search.cube import Cube
from losstune.tuning.search.seen import MOST, MOST_EARLIER, Seen, last_epoch, observed_of, seen_of
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.study.trial import TrialView

ENOUGH = 4
"""Own trials with a value from which on they are asked."""
FAIR = 0.75
"""The share of differences that is to be in the right order; by chance it is a half."""


def informs(trials: Sequence[TrialView], earlier: Sequence[TrialView], space: SearchSpace) -> bool:
    """Whether the next proposal is to know of the other study's trials.

    Before there are enough own ones, every second may: were all near the other study's best, nothing would tell that
    it errs.

    Args:
        trials: of the loss, those that run among them.
        earlier: of the other study, at points of this space.
    """
    last = last_epoch(trials, earlier)
    own, before = seen_of(trials, last, MOST), seen_of(earlier, last, MOST_EARLIER)
    if len({seen.trial.number for seen in own}) < ENOUGH:
        return (len(trials) - len(space.start)) % 2 == 0
    return bool(before) and _share_in_order(own, _expected(own, before, Cube(space), last)) >= FAIR


def _expected(own: Sequence[Seen], before: Sequence[Seen], cube: Cube, last: int) -> list[float]:
    """What the other study's trials let expect of each value of this one's, at its setting and epoch."""
    from threadpoolctl import threadpool_limits

    from losstune.tuning.search.process import Process  # loads SciPy, for which the first trials need not wait

    with threadpool_limits(1, "blas"):
        there: list[float] = Process(observed_of(before, cube, last)).mean(observed_of(own, cube, last).rows).tolist()
    return there


def _share_in_order(own: Sequence[Seen], expected: Sequence[float]) -> float:
    """Of all pairs of trials, at the last epoch that both have a value at, how many are in the expected order.

    A pair counts as much as the expected values of its two differ. Most proposals lie close to the other study's best,
    where noise alone decides which is better. 1 where no pair says anything.
    """
    told: dict[int, dict[int, tuple[float, float]]] = {}
    for seen, there in zip(own, expected, strict=True):
        told.setdefault(seen.trial.number, {})[seen.epoch] = seen.value, there
    right = total = 0.0
    for one, other in combinations(told.values(), 2):
        common = one.keys() & other.keys()
        if not common:
            continue
        (value, there), (other_value, other_there) = one[max(common)], other[max(common)]
        if value != other_value:
            total += abs(there - other_there)
            right += abs(there - other_there) * ((value > other_value) == (there > other_there))
    return right / total if total else 1.0
