"""A plain model of a study, in dicts: what the truth must hold, who comes next, what ASHA must decide."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

Name = tuple[str, int]
"""A trial: its loss and its number."""


@dataclass(frozen=True)
class End:
    """How a trial ended; ``reason`` is how the reason begins."""

    state: str
    reason: str
    epochs: int
    best: float | None


@dataclass
class Trial:
    """What is known for good. ``values`` are by epoch, None for one that is no number."""

    point: Mapping[str, Any]
    values: dict[int, float | None] = field(default_factory=dict)
    end: End | None = None

    @property
    def epochs(self) -> int:
        return self.end.epochs if self.end else max(self.values, default=0)

    @property
    def spent(self) -> int:
        """An end costs an epoch, also where none was trained."""
        return max(1, self.epochs) if self.end else self.epochs

    @property
    def trained(self) -> bool:
        """Whether it has a value, or had none that is a number."""
        if self.end is None:
            return bool(self.values)
        return self.end.state != "failed" and (self.end.best is not None or self.end.reason == "diverged")


@dataclass
class Model:
    """A study and its present launch.

    Attributes:
        budget: what each loss may spend, in ``unit``.
        points: how many points the space of a loss has, where that is few.
        patience: failed trials after which a loss gets no more, if none has trained.
        slots: trials at a time.
        trials: what outlives a launch.
    """

    losses: list[str]
    rungs: tuple[int, ...]
    eta: int
    unit: Literal["epochs", "trials"]
    budget: int
    points: dict[str, int]
    patience: int
    slots: int = 1
    trials: dict[Name, Trial] = field(default_factory=dict)

    def begin(self) -> None:
        """A launch starts from what is known for good."""
        self.running: list[Name] = []
        self.reached = {name: trial.spent for name, trial in self.trials.items()}
        self.spent = {loss: sum(self.reached[name] for name in self._of(loss)) for loss in self.losses}
        self.left = [n for loss in self.losses for n in self._of(loss) if self.trials[n].end is None]
        self.no_room: list[Name] = []
        self.alone: Name | None = None
        self.at_rung: dict[tuple[str, int], dict[int, float]] = {
            (loss, rung): {} for loss in self.losses for rung in self.rungs
        }
        for (loss, number), trial in self.trials.items():
            for epoch, value in trial.values.items():
                if epoch in self.rungs and value is not None:
                    self.at_rung[loss, epoch][number] = value
            if trial.end and trial.end.state == "complete" and trial.end.best is not None:
                self._keep_at_later_rungs((loss, number), trial.end)

    def next(self) -> Name | Literal["wait", "finished"]:
        """What a free slot must get. An end is told last of all: Tune does not ask again after it."""
        if len(self.running) >= self.slots or self.alone:
            return "wait"
        if self.left:
            return self.left[0]
        able = [loss for loss in self.losses if self._may_start(loss) and not self.hopeless(loss)]
        if able:
            busy = [loss for loss, _ in self.running]
            loss = min(able, key=lambda loss: (self.spent[loss], busy.count(loss)))
            return loss, len(self._of(loss))
        if self.running:
            return "wait"
        return self.no_room[0] if self.no_room else "finished"

    def started(self, name: Name, point: Mapping[str, Any]) -> None:
        """A trial was handed out."""
        if name in self.left:
            self.left.remove(name)
        elif name in self.no_room:
            self.no_room.remove(name)
            self.alone = name
        else:
            self.trials[name] = Trial(point)
            self.reached[name] = 0
        self.running.append(name)

    def goes_on(self, name: Name, epoch: int, best: float) -> bool:
        """Of n values at a rung the best ⌊n/η⌋ go on, and at least one; of equal ones the earlier trial."""
        loss, number = name
        values = self.at_rung[loss, epoch]
        values.setdefault(number, best)
        order = sorted(values, key=lambda other: (-values[other], other))
        return number in order[: max(1, len(values) // self.eta)]

    def trained(self, name: Name, epoch: int) -> None:
        """A trial is known to have come this far."""
        new = max(0, epoch - self.reached[name])
        self.reached[name] += new
        self.spent[name[0]] += new

    def told(self, name: Name, epoch: int, best: float) -> None:
        """A rung was passed."""
        self.trials[name].values[epoch] = best

    def ended(self, name: Name, end: End) -> None:
        """A trial ended, while it ran or while it waited."""
        trial = self.trials[name]
        trial.end = end
        self.spent[name[0]] += trial.spent - self.reached[name]
        self.reached[name] = trial.spent
        if name in self.running:
            self._leaves(name)
        if end.epochs and end.state != "failed":
            trial.values[end.epochs] = None if end.reason == "diverged" else end.best
        if end.reason.startswith("no new best") and end.best is not None:
            self._keep_at_later_rungs(name, end)

    def found_no_room(self, name: Name) -> None:
        """A trial is to come again when all others have ended, from its last rung on."""
        self.spent[name[0]] += self.trials[name].epochs - self.reached[name]
        self.reached[name] = self.trials[name].epochs
        self._leaves(name)
        self.no_room.append(name)

    def hopeless(self, loss: str) -> bool:
        """Whether a loss gets no more trials because of those that failed, or found no room and have not run since."""
        own, waiting = [self.trials[name] for name in self._of(loss)], [n for n, _ in self.no_room].count(loss)
        failed = sum(trial.end is not None and trial.end.state == "failed" for trial in own)
        return waiting >= self.patience or (
            failed + waiting >= self.patience and not any(trial.trained for trial in own)
        )

    def after_a_kill(self, before: dict[Name, Trial], found: dict[Name, Trial]) -> None:
        """What was being written is there or is not; anything else fails."""
        for name, trial in found.items():
            if name not in self.trials:  # a proposal that nobody has heard of yet
                assert trial == Trial(trial.point)
                assert name == (name[0], len(self._of(name[0])))
                self.trials[name] = deepcopy(trial)
            assert trial in (self.trials[name], before.get(name, self.trials[name])), (name, trial, before.get(name))
        assert set(before) <= set(found)
        self.trials = deepcopy(found)

    def _of(self, loss: str) -> list[Name]:
        return [name for name in self.trials if name[0] == loss]

    def _may_start(self, loss: str) -> bool:
        started = len(self._of(loss))
        spent = self.spent[loss] if self.unit == "epochs" else started
        return spent < self.budget and started < self.points.get(loss, 1_000_000)

    def _leaves(self, name: Name) -> None:
        self.running.remove(name)
        self.alone = None

    def _keep_at_later_rungs(self, name: Name, end: End) -> None:
        assert end.best is not None
        for rung in self.rungs:
            if rung >= end.epochs:
                self.at_rung[name[0], rung].setdefault(name[1], end.best)
