"""What a search of some budget found where it was measured: what ``check`` says of a study's own budget.

Measured by ``benchmarks/search.py`` on the curves in ``benchmarks/curves``: infonce's shipped space on five data sets,
27 epochs a training, four workers, 24 searches each. ``benchmarks/budget_worth.py`` prints SHARES and NOISE.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.users_modules import OWN
from losstune.trainer.config.factory import FACTORY
from losstune.trainer.config.objective import Objective
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import SamplerName, StudySettings


class Shares(NamedTuple):
    """The true value of the setting in hand as a share of the best known one, over data sets."""

    lowest: float
    mean: float
    highest: float


OBJECTIVE: Objective = "val/mrr"
SHARES: dict[SamplerName, dict[int, Shares]] = {
    "gp": {
        2: Shares(0.617, 0.764, 0.846),
        5: Shares(0.742, 0.835, 0.9),
        10: Shares(0.841, 0.892, 0.931),
        20: Shares(0.898, 0.928, 0.95),
        40: Shares(0.93, 0.944, 0.957),
        80: Shares(0.94, 0.954, 0.965),
    },
    "tpe": {
        2: Shares(0.65, 0.766, 0.841),
        5: Shares(0.7, 0.81, 0.869),
        10: Shares(0.753, 0.842, 0.902),
        20: Shares(0.805, 0.869, 0.911),
        40: Shares(0.836, 0.889, 0.926),
    },
    "random": {
        2: Shares(0.661, 0.769, 0.841),
        5: Shares(0.693, 0.805, 0.875),
        10: Shares(0.744, 0.84, 0.896),
        20: Shares(0.785, 0.863, 0.912),
        40: Shares(0.808, 0.881, 0.93),
        80: Shares(0.855, 0.895, 0.928),
    },
}
"""By full trainings of a loss, of ``max_epochs`` each."""
NOISE = 0.013
"""Standard error of the mean of a setting's value over ten seeds, relative to it."""


@dataclass(frozen=True)
class BudgetWorth:
    """What searches that spent a budget had in hand, as shares of the best known value.

    Attributes:
        full_trainings: the budget of each loss, in trainings of ``max_epochs``.
        at_least: on the data set where it was least; None below the measured budgets.
        at_most: on the data set where it was most; None above the measured budgets.
        doubling_pays_to: full trainings up to which twice as many gain at least NOISE.
        doubling_measured_to: up to how many that was looked at.
    """

    full_trainings: float
    at_least: float | None
    at_most: float | None
    doubling_pays_to: int
    doubling_measured_to: int

    def lines(self, max_epochs: int) -> Iterator[str]:
        """What is to be said of it, for trainings of so many epochs."""
        match self.at_least, self.at_most:
            case None, most:
                reached = f"at most {most:.0%}"
            case least, None:
                reached = f"at least {least:.0%}"
            case least, most:
                reached = f"{least:.0%} to {most:.0%}"
        trainings = f"{self.full_trainings:.1f}".removesuffix(".0")
        yield (
            f"A budget of about {trainings} full trainings a loss reached {reached} of the best known value "
            "(measured with infonce, 27 epochs, on five data sets)"
        )
        shown = f"{self.doubling_pays_to} full trainings (--epochs-per-loss {self.doubling_pays_to * max_epochs})"
        if self.doubling_pays_to < self.doubling_measured_to:
            yield (
                f"Beyond about {shown} twice as many gained less than the standard error of ten seeds: there confirm "
                "with more seeds rather than search more"
            )
        else:
            yield f"Up to {shown} at least, twice as many gained more than the standard error of ten seeds"


def doubling_pays_to(shares: Mapping[int, Shares]) -> tuple[int, int]:
    """Full trainings up to which twice as many gain at least NOISE, in the mean, and up to which it was looked at."""
    spent = np.arange(min(shares), max(shares) // 2 + 1)
    means = [own.mean for own in shares.values()]
    once, twice = (_between(shares, means, budgets) for budgets in (spent, 2 * spent))
    pays = spent[twice / once - 1 >= NOISE]
    return int(max(pays, default=0)), int(spent[-1])


def applies(spaces: Sequence[SearchSpace], settings: StudySettings) -> bool:
    """Whether a study is like what was measured: its sampler, with rungs, by MRR, each loss with a budget of its own.

    A loss or a model of the user's own may have a space of any difficulty, so nothing is said of a study with one.
    """
    return (
        settings.sampler in SHARES
        and settings.objective == OBJECTIVE
        and bool(settings.rungs)
        and not settings.race
        and all(space.loss_class.__module__.startswith(f"{OWN}.") for space in spaces)
        and not any(FACTORY in space.fixed for space in spaces)
    )


def budget_worth(sampler: SamplerName, full_trainings: float) -> BudgetWorth:
    """What was measured, between two budgets in proportion to the logarithm.

    Args:
        sampler: one of SHARES.
        full_trainings: above 0.
    """
    shares = SHARES[sampler]
    lowest, highest = (
        float(_between(shares, ends, full_trainings))
        for ends in ([own.lowest for own in shares.values()], [own.highest for own in shares.values()])
    )
    return BudgetWorth(
        full_trainings,
        lowest if full_trainings >= min(shares) else None,
        highest if full_trainings <= max(shares) else None,
        *doubling_pays_to(shares),
    )


def _between(shares: Mapping[int, Shares], values: Sequence[float], budgets: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.interp(np.log(budgets), np.log(list(shares)), values)
