"""Whose turn it is: losses level by epochs spent, each with its own budget or all in a race for one."""

from collections.abc import Mapping, Sequence

from losstune.tuning.search.race import Race, standing
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.lost_trials import given_up


class Turns:
    """Gives the next trial to the loss that has spent the fewest epochs, of those that may start one."""

    def __init__(self, trials: Mapping[str, LossTrials], settings: StudySettings) -> None:
        """Start from what the truth says was spent, and dropped."""
        self._trials = trials
        self._budget = settings.budget
        self._spent = {loss: sum(trial.spent for trial in own) for loss, own in trials.items()}
        self._exhausted: set[str] = set()
        self._race = Race.of(settings, len(trials)) if settings.race else None
        self._dropped: dict[str, Dropped] = {}
        self.judge()

    def spend(self, loss: str, epochs: int) -> None:
        """Count epochs that were trained; fewer than none where some were counted that are to be trained again."""
        self._spent[loss] += epochs

    def exhaust(self, loss: str) -> None:
        """Every point of this loss's space has been proposed."""
        self._exhausted.add(loss)

    def next_loss(self, busy: Sequence[str], waiting: Sequence[str] = ()) -> str | None:
        """The loss that starts the next trial, None if none may.

        Args:
            busy: the loss of each trial that is running.
            waiting: the loss of each that found no room on its GPU, and is to run alone when all others have ended.
        """
        able = [
            loss
            for loss, own in self._trials.items()
            if self._may_start(loss) and not given_up(own, waiting.count(loss))
        ]
        return min(able, key=lambda loss: (self._spent[loss], busy.count(loss)), default=None)

    def judge(self) -> list[Dropped]:
        """In a race, drop what can no longer win, and keep that in the truth; returns what is newly dropped."""
        if self._race is None:
            return []
        standings = {loss: standing(own, self._race.unit, own.grown_at) for loss, own in self._trials.items()}
        kept = [own.dropped for own in self._trials.values()]
        upheld = self._race.upheld([Dropped.from_dict(drop) for drop in kept if drop], standings)
        new = self._race.drops(standings, [drop.loss for drop in upheld])
        self._dropped = {drop.loss: drop for drop in [*upheld, *new]}
        for loss, own in self._trials.items():
            own.drop(self._dropped[loss].to_dict() if loss in self._dropped else None)
        return new

    def _may_start(self, loss: str) -> bool:
        if loss in self._exhausted:
            return False
        if self._race is None:
            return self._budget.left(self._spent[loss], len(self._trials[loss]))
        spent = sum(self._spent.values()) if self._race.unit == "epochs" else sum(map(len, self._trials.values()))
        return loss not in self._dropped and spent < self._race.total
