"""Searches without training: asynchronous workers on a landscape of curves, for ``search.py``.

A search says what runs next, and at the epochs that it asks for, whether a trial goes on or ends.
:class:`Own` is losstune's own code; :class:`Peer` puts Optuna's public samplers and pruners in its place.
"""

import heapq
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from search_curves import Replay, Run

from losstune.tuning.search.allocation import Turns
from losstune.tuning.search.proposals import propose
from losstune.tuning.search.rungs import Rungs
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.trial import DIVERGED, Ending, TrialView

optuna.logging.set_verbosity(optuna.logging.ERROR)
WORKERS = 4
LOSS = "loss"  # the name of a point's loss, beside its parameters


class Search(Protocol):
    """What is measured."""

    stops: tuple[int, ...]
    """Epochs at which it is asked about a trial, ascending; the last one is the trial's end."""

    def next(self) -> tuple[int, Point] | None:
        """The number and the point of the next trial; None if nothing is left."""

    def goes_on(self, number: int, epoch: int, best: float) -> bool:
        """Whether a trial goes on from here, which is not its end."""

    def ended(self, number: int, epoch: int, best: float, diverged: bool) -> None:
        """A trial has used its epochs, or diverged."""


@dataclass
class Trial:
    """A training in the simulation: how far it is, its best so far and the point that it is of."""

    point: Point
    run: Run
    epoch: int = 0
    best: float = -math.inf


@dataclass
class Trace:
    """The setting in hand over time: after so many epochs, and seconds of workers, its true value's share."""

    epochs: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)

    def at(self, budget: float, unit: str) -> float:
        """The share in hand once a budget is spent; 0 before there is one."""
        spent = self.epochs if unit == "epochs" else self.seconds
        known = sum(own <= budget for own in spent)
        return self.share[known - 1] if known else 0.0


def simulate(search: Search, landscape: Replay, epochs_spent: float, seconds_spent: float, seed: int) -> Trace:
    """Let a search spend a budget, both of epochs and seconds; in hand is the highest best-so-far, as in a study."""
    random, trials, trace = np.random.default_rng(seed), dict[int, Trial](), Trace()
    events: list[tuple[float, int, int, int]] = []
    order, epochs, seconds, now, in_hand, share = itertools.count(), 0, 0.0, 0.0, -math.inf, 0.0

    def begin(number: int) -> None:
        trial = trials[number]
        until = next(stop for stop in search.stops if stop > trial.epoch)
        bad = np.flatnonzero(np.isnan(trial.run.val[trial.epoch : until]))
        until = trial.epoch + int(bad[0]) + 1 if len(bad) else until
        heapq.heappush(events, (now + (until - trial.epoch) * trial.run.seconds, next(order), number, until))

    while True:
        while len(events) < WORKERS and (found := search.next()) is not None:
            trials[found[0]] = Trial(found[1], landscape.run(found[1], random))
            begin(found[0])
        if not events or (epochs >= epochs_spent and seconds >= seconds_spent):
            return trace
        now, _, number, until = heapq.heappop(events)
        trial = trials[number]
        epochs, seconds = epochs + until - trial.epoch, seconds + (until - trial.epoch) * trial.run.seconds
        values = trial.run.val[trial.epoch : until]
        diverged = bool(np.isnan(values[-1]))
        trial.epoch, trial.best = until, max(trial.best, float(np.nanmax([*values, -math.inf])))
        if not diverged and trial.best > in_hand:
            in_hand, share = trial.best, landscape.truth(trial.point) / landscape.best
        trace.epochs.append(epochs)
        trace.seconds.append(seconds)
        trace.share.append(share)
        if diverged or until == search.stops[-1]:
            search.ended(number, until, trial.best, diverged)
        elif search.goes_on(number, until, trial.best):
            begin(number)


class Own:
    """losstune's search of one loss, or of several: proposals, each loss's rungs, whose turn it is, and their race."""

    def __init__(
        self,
        spaces: Sequence[SearchSpace],
        settings: StudySettings,
        earlier: Mapping[str, Sequence[TrialView]] | None = None,
    ) -> None:
        self.stops = (*settings.rungs, settings.max_epochs)
        self.trials = {space.name: LossTrials(InMemoryStorage(), space.name, space) for space in spaces}
        self._settings = settings
        self._earlier = earlier or {}
        self._turns = Turns(self.trials, settings)
        self._rungs = {space.name: Rungs(settings.rungs, settings.reduction_factor) for space in spaces}
        self._places: list[tuple[str, int]] = []
        self._running: set[int] = set()

    def next(self) -> tuple[int, Point] | None:
        while (loss := self._turns.next_loss([self._places[number][0] for number in self._running])) is not None:
            point = propose(self.trials[loss], self._settings.sampler, self._settings.seed, self._earlier.get(loss, ()))
            if point is not None:
                number = len(self._places)
                self._places.append((loss, self.trials[loss].add(point, 0)))
                self._running.add(number)
                return number, {LOSS: loss, **point}
            self._turns.exhaust(loss)
        return None

    def goes_on(self, number: int, epoch: int, best: float) -> bool:
        loss, own = self._places[number]
        if self._rungs[loss].goes_on(own, epoch, best):
            self.trials[loss].report(own, epoch, best)
            return True
        self._end(number, Ending("pruned", f"cut at rung {epoch}", epoch, best, epoch))
        return False

    def ended(self, number: int, epoch: int, best: float, diverged: bool) -> None:
        value = best if best > -math.inf else None
        reason = DIVERGED if diverged else "used its epochs"
        self._end(number, Ending("pruned" if diverged else "complete", reason, epoch, value, epoch))

    def _end(self, number: int, ending: Ending) -> None:
        loss, own = self._places[number]
        self._running.remove(number)
        self._turns.spend(loss, ending.epochs)
        self.trials[loss].end(own, ending)
        self._turns.judge()


class Peer:
    """Optuna's own samplers and pruners, with the start points of the space first."""

    def __init__(
        self, space: SearchSpace, stops: tuple[int, ...], sampler: BaseSampler, pruner: BasePruner, seed: int
    ) -> None:
        """Begin an Optuna study in memory; Hyperband's brackets follow from its name."""
        self.stops = stops
        self._space, self._distributions = space, distributions(space)
        self._study = optuna.create_study(study_name=str(seed), direction="maximize", sampler=sampler, pruner=pruner)
        for start in space.start:
            self._study.enqueue_trial(start)
        self._running: dict[int, optuna.Trial] = {}

    def next(self) -> tuple[int, Point] | None:
        trial = self._study.ask()
        point: Point = {}
        for parameter in self._space.parameters:
            if parameter.active(point):
                point[parameter.name] = _suggested(trial, parameter.name, self._distributions[parameter.name])
        self._running[trial.number] = trial
        return trial.number, point

    def goes_on(self, number: int, epoch: int, best: float) -> bool:
        trial = self._running[number]
        trial.report(best, epoch)
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True

    def ended(self, number: int, epoch: int, best: float, diverged: bool) -> None:
        trial = self._running[number]
        if diverged:
            trial.report(math.nan, epoch)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, best)


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> object:
    """A value as Optuna's own programs ask for it."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
    raise AssertionError(distribution)


MakeSearch = Callable[[SearchSpace, StudySettings], Search]


def own(sampler: str) -> MakeSearch:
    """losstune with one of its samplers."""
    return lambda space, settings: Own([space], settings.model_copy(update={"sampler": sampler}))


def hyperband(tpe: bool) -> MakeSearch:
    """Optuna's Hyperband, by chance or with its TPE."""

    def make(space: SearchSpace, settings: StudySettings) -> Search:
        sampler = _tpe(settings.seed) if tpe else optuna.samplers.RandomSampler(settings.seed)
        pruner = optuna.pruners.HyperbandPruner(settings.grace_epochs, settings.max_epochs, settings.reduction_factor)
        return Peer(space, (*settings.rungs, settings.max_epochs), sampler, pruner, settings.seed)

    return make


def median(space: SearchSpace, settings: StudySettings) -> Search:
    """Optuna's TPE with its median rule, asked after each epoch."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=settings.grace_epochs)
    return Peer(space, tuple(range(1, settings.max_epochs + 1)), _tpe(settings.seed), pruner, settings.seed)


def _tpe(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)


PEERS: dict[str, MakeSearch] = {
    "tpe": own("tpe"),
    "gp": own("gp"),
    "random": own("random"),
    "BOHB-like": hyperband(tpe=True),
    "Hyperband": hyperband(tpe=False),
    "median stop": median,
}
