"""Losses that compete for one budget, by the rule of rising bandits.

Li et al., Efficient Automatic CASH via Rising Bandits, AAAI 2020. A loss is an arm, its curve the best value so far
against what it has spent. Its lower bound is its best; its upper bound at the end of the race is its best plus its
recent slope times what is left, at most 1. A loss whose upper bound is at or under the best one's lower bound can
no longer win, and gets no new trials. Where the paper leaves room, the choice is to drop nobody that could still win:

- What is left is all that is left of the race, as if one loss got it whole (the paper's T − t), not a share of it.
  Epochs of running trials count as left: a decision depends on ended trials alone, and is the same after a restart.
- The paper takes the slope over 7 pulls. ASHA cuts most trials at the first rung, without a chance of a new best: 7
  of them in a row look like a curve at its end. The window here is 7 trials and a round of ASHA, the trials of which
  one, on average, trains to the end. Of five close losses at the default settings, 7 trials alone drop the best in
  38 of 100 simulated races, this window in 9 (tests/tuning/search/test_race.py).
- A loss is judged only if an ended trial lies before its window; one that is too young has no upper bound. A space that
  grew begins anew: the trials of before say nothing of how far it leads.

On real learning curves (benchmarks/race.py) it drops the best of three losses in about a quarter of the races, and what
stays gains from that: docs/confirming.md has the figures, and what a margin under the leader did instead.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.dropped import Dropped, Unit
from losstune.tuning.study.trial import TrialView

WINDOW_TRIALS = 7
"""The paper's smoothing window C, in ended trials."""

MAXIMUM = 1.0
"""The highest value that any objective can have."""


@dataclass(frozen=True)
class Standing:
    """One loss's curve: a point for each ended trial, in the order in which they ended.

    Attributes:
        spent: epochs or trials after each, summed.
        best: best value so far after each; −inf before the first value.
        former: how many of its first trials say nothing of its slope: they are from before its space grew.

    Raises:
        ValueError: spent and best differ in length, one of them falls, or a value is NaN.
    """

    spent: tuple[int, ...] = ()
    best: tuple[float, ...] = ()
    former: int = 0

    def __post_init__(self) -> None:
        if len(self.spent) != len(self.best):
            raise ValueError(f"a standing of {len(self.spent)} sums and {len(self.best)} values")
        if any(math.isnan(value) for value in self.best):
            raise ValueError(f"a standing with NaN among its values {self.best}")
        if any(later < earlier for earlier, later in pairwise((0, *self.spent))):
            raise ValueError(f"spent falls in a standing: {self.spent}")
        if any(later < earlier for earlier, later in pairwise(self.best)):
            raise ValueError(f"the best so far falls in a standing: {self.best}")

    @property
    def total(self) -> int:
        """What the loss has spent on ended trials."""
        return self.spent[-1] if self.spent else 0

    @property
    def lower(self) -> float:
        """The lower bound, its best value; −inf without one."""
        return self.best[-1] if self.best else -math.inf

    @property
    def reached(self) -> int:
        """What it had spent when it first had its best value."""
        return self.spent[self.best.index(self.lower)] if self.best else 0

    def slope(self, round_cost: int) -> float | None:
        """The recent rise of the best value per epoch or trial spent.

        Args:
            round_cost: the least that the window covers, besides 7 trials.

        Returns:
            0 or more; inf if the first value came inside the window; None without an ended trial before the window.
        """
        before = len(self.spent) - WINDOW_TRIALS
        starts = [i for i in range(self.former, before) if self.total - self.spent[i] >= round_cost]
        if not starts:
            return None
        start = starts[-1]
        if self.lower == self.best[start]:  # also where both are −inf
            return 0.0
        return (self.lower - self.best[start]) / (self.total - self.spent[start])


def standing(trials: Iterable[TrialView], unit: Unit, grown_at: int = 0) -> Standing:
    """The standing of a loss, from its trials as the truth knows them.

    Trials that have not ended are left out. Diverged and failed ones spend, and have no value.

    Args:
        grown_at: the number of the first trial of the loss's space as it is now.
    """
    ended = [trial for trial in trials if trial.ending is not None]
    ended.sort(key=lambda trial: (math.inf if trial.finished is None else trial.finished, trial.number))
    spent = accumulate(trial.spent if unit == "epochs" else 1 for trial in ended)
    best = accumulate((trial.rank_value for trial in ended), max)
    former = next((at for at, trial in enumerate(ended) if trial.number >= grown_at), len(ended))
    return Standing(tuple(spent), tuple(best), former)


@dataclass(frozen=True)
class Race:
    """The race of one study.

    Attributes:
        unit: what the losses compete for.
        total: the budget of all losses together, in that unit.
        round_cost: what ASHA spends until, on average, one trial of a loss has trained to the end. A study whose
            budget per loss is less drops nobody, or late.

    Raises:
        ValueError: total or round_cost is less than 1.
    """

    unit: Unit
    total: int
    round_cost: int

    def __post_init__(self) -> None:
        if self.total < 1 or self.round_cost < 1:
            raise ValueError(f"a race with total {self.total} and round_cost {self.round_cost}: both are at least 1")

    @classmethod
    def of(cls, settings: StudySettings, losses: int) -> "Race":
        """The race of a study with this many losses: what dropped ones leave unused goes to the others."""
        budget = settings.budget
        if budget.epochs is not None:
            return cls("epochs", budget.epochs * losses, _round_epochs(settings))
        return cls("trials", (budget.trials or 0) * losses, settings.reduction_factor ** len(settings.rungs))

    def left(self, standings: Mapping[str, Standing]) -> int:
        """What is left of the race when only ended trials count."""
        return max(0, self.total - sum(own.total for own in standings.values()))

    def drops(self, standings: Mapping[str, Standing], already: Collection[str]) -> list[Dropped]:
        """The losses that can no longer win, by name, and were not dropped before.

        The leader, the best loss in the race, is never among them: one loss stays whatever happens. Of equals
        the one leads that needed less for its best. Where nothing is left nobody is dropped: nothing is saved.

        Args:
            standings: of every loss of the study.
            already: the losses that are out; see :meth:`upheld`.

        Raises:
            ValueError: a name in ``already`` has no standing.
        """
        if unknown := set(already) - set(standings):
            raise ValueError(f"dropped but not in the race: {', '.join(sorted(unknown))}")
        racing = {loss: own for loss, own in sorted(standings.items()) if loss not in already}
        left = self.left(standings)
        if not racing or left == 0:
            return []
        leader = min(racing, key=lambda loss: (-racing[loss].lower, racing[loss].reached, loss))
        if racing[leader].lower == -math.inf:
            return []
        judged = [self._judged(loss, own, leader, racing[leader].lower, left) for loss, own in racing.items()]
        return [dropped for dropped in judged if dropped is not None]

    def upheld(self, dropped: Iterable[Dropped], standings: Mapping[str, Standing]) -> list[Dropped]:
        """The earlier drops that still hold; the other losses are in the race again, to be judged anew.

        A drop no longer holds if a trial that was still running took the loss above the bound it was dropped for,
        or if the race has more to give than it had then.
        """
        return [
            drop
            for drop in dropped
            if self.total <= drop.total
            and standings[drop.loss].lower <= (-math.inf if drop.upper is None else drop.upper)
        ]

    def _judged(self, loss: str, own: Standing, leader: str, bar: float, left: int) -> Dropped | None:
        """The drop of a loss, None if it stays."""
        slope = own.slope(self.round_cost)
        if loss == leader or slope is None:
            return None
        upper = max(own.lower, min(MAXIMUM, own.lower + slope * left))
        if upper > bar:
            return None
        valued = own.lower > -math.inf
        return Dropped(
            loss=loss,
            best=own.lower if valued else None,
            upper=upper if valued else None,
            slope=slope if slope < math.inf else None,
            spent=own.total,
            leader=leader,
            leader_best=bar,
            left=left,
            total=self.total,
            unit=self.unit,
        )


def _round_epochs(settings: StudySettings) -> int:
    """Epochs of η^s trials of which one in η goes on at each of the s rungs, and so one trains to the end."""
    stops = (*settings.rungs, settings.max_epochs)
    runners = [settings.reduction_factor**k for k in reversed(range(len(stops)))]
    return sum(n * (stop - start) for n, start, stop in zip(runners, (0, *stops), stops, strict=False))
