"""Syne Tune's own schedulers, as searches of ``search_simulation.py``; for where that package is installed.

It is no requirement of losstune, and what it asks for may change versions that losstune pins. So
``pip install --no-deps --target FOLDER syne-tune xgboost``, and ``PYTHONPATH=FOLDER``.

Release 0.16 has no Gaussian process with its ASHA any more (MOBSTER). Its BOHB draws by chance until it has 87 trials
of a space of twelve parameters, which infonce's has; 20 full trainings make fewer, so there it is its ASHA.
"""

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import ASHA, ASHABORE, ASHACQR
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler

from losstune.tuning.space.search_space import Choices, Domain, Point, SearchSpace
from losstune.tuning.space.settings import StudySettings

VALUE, EPOCH = "value", "epoch"
NEVER = datetime.datetime.fromtimestamp(0, datetime.UTC)


class SyneTune:
    """One of the schedulers, told of each epoch, with the start points of the space first.

    It knows no conditions: it proposes every parameter, and what is not active goes unused.
    """

    def __init__(self, made: Callable[..., TrialScheduler], space: SearchSpace, settings: StudySettings) -> None:
        """Begin; ``made`` is its class."""
        self.stops = tuple(range(1, settings.max_epochs + 1))
        np.random.seed(settings.seed)
        self._space, domains = space, {parameter.name: _domain(parameter.domain) for parameter in space.parameters}
        unused = {parameter.name: _any_value(parameter.domain) for parameter in space.parameters}
        self._scheduler = made(
            config_space=domains,
            metric=VALUE,
            time_attr=EPOCH,
            max_t=settings.max_epochs,
            do_minimize=False,
            random_seed=settings.seed,
            grace_period=settings.grace_epochs,
            reduction_factor=settings.reduction_factor,
            points_to_evaluate=[unused | start for start in space.start],
        )
        self._trials: list[Trial] = []

    def next(self) -> tuple[int, Point] | None:
        """What it suggests."""
        suggested = self._scheduler.suggest()
        if suggested is None:
            return None
        trial = Trial(len(self._trials), suggested.config, NEVER)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        point: Point = {}
        for parameter in self._space.parameters:
            if parameter.active(point):
                point[parameter.name] = trial.config[parameter.name]
        return trial.trial_id, point

    def goes_on(self, number: int, epoch: int, best: float) -> bool:
        """What it decides."""
        trial = self._trials[number]
        if self._scheduler.on_trial_result(trial, {VALUE: best, EPOCH: epoch}) == SchedulerDecision.CONTINUE:
            return True
        self._scheduler.on_trial_remove(trial)
        return False

    def ended(self, number: int, epoch: int, best: float, diverged: bool) -> None:
        """A run that diverged is an error to it, as where a program raises one."""
        if diverged:
            self._scheduler.on_trial_error(self._trials[number])
        else:
            self._scheduler.on_trial_complete(self._trials[number], {VALUE: best, EPOCH: epoch})


def _domain(domain: Domain) -> Any:
    if isinstance(domain, Choices):
        return config_space.choice(list(domain.values))
    low, high = domain.low, domain.high
    if domain.integer:
        return (config_space.lograndint if domain.log else config_space.randint)(int(low), int(high))
    if domain.step is not None:
        return config_space.finrange(low, high, len(domain.values or ()))
    return (config_space.loguniform if domain.log else config_space.uniform)(low, high)


def _any_value(domain: Domain) -> object:
    if isinstance(domain, Choices):
        return domain.values[0]
    return int(domain.low) if domain.integer else domain.low


def _made(scheduler: Callable[..., TrialScheduler]) -> Callable[[SearchSpace, StudySettings], SyneTune]:
    return lambda space, settings: SyneTune(scheduler, space, settings)


SYNE_TUNE = {
    "Syne Tune: ASHA": _made(ASHA),
    "Syne Tune: ASHA, BORE": _made(ASHABORE),
    "Syne Tune: ASHA, CQR": _made(ASHACQR),
}
