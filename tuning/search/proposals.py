"""Where the next point of a loss comes from: its start points, then its sampler. Never a point twice.

A proposal depends on (study seed, loss, trial number) and on the trials told so far, and on nothing else:
each one gets a sampler of its own, freshly seeded. A study that was interrupted proposes the same trials.
"""

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from losstune.tuning.space.search_space import MAX_GRID, Point, Range, SearchSpace
from losstune.tuning.space.settings import SamplerName
from losstune.tuning.study.loss_trials import LossTrials, distributions
from losstune.tuning.study.seeds import derived_seed

ATTEMPTS = 32
"""Draws of a sampler that may hit known points before the space is searched for what is left."""


def propose(trials: LossTrials, sampler: SamplerName, study_seed: int) -> Point | None:
    """The next point of a loss; None if every point of its space has been proposed."""
    known = {_key(trial.point) for trial in trials}
    for point in trials.space.start:
        if _key(point) not in known:
            return point
    if sampler == "grid":
        return next((point for point in trials.space.points() if _key(point) not in known), None)
    for attempt in range(ATTEMPTS):
        seed = derived_seed(study_seed, trials.loss_fn, len(trials), attempt)
        point = _sample(trials, _make_sampler(sampler, trials.space, seed))
        if _key(point) not in known:
            return point
    return _unseen(trials, known, derived_seed(study_seed, trials.loss_fn, len(trials), "unseen"))


def _make_sampler(name: SamplerName, space: SearchSpace, seed: int) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed % 2**32)
    conditional = any(parameter.when for parameter in space.parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Without groups, parameters that exist only in some trials would be sampled on their own.
        return TPESampler(seed=seed % 2**32, multivariate=True, group=conditional)


def _sample(trials: LossTrials, sampler: BaseSampler) -> Point:
    """One point from Optuna's sampler interface, with the space's own conditions."""
    study, trial = trials.draft()
    sampler.before_trial(study, trial)
    jointly = sampler.infer_relative_search_space(study, trial)
    drawn = sampler.sample_relative(study, trial, jointly)
    point: Point = {}
    for name, distribution in distributions(trials.space).items():
        parameter = next(p for p in trials.space.parameters if p.name == name)
        if not parameter.active(point):
            continue
        value = drawn[name] if name in drawn else sampler.sample_independent(study, trial, name, distribution)
        point[name] = parameter.domain.exact(value) if isinstance(parameter.domain, Range) else value
    return point


def _unseen(trials: LossTrials, known: set[tuple[tuple[str, object], ...]], seed: int) -> Point | None:
    """A point by chance of those that are left; a sampler may prefer a part of the space that is used up."""
    size = trials.space.size
    if size is None or size > MAX_GRID:
        sampler = RandomSampler(seed=seed % 2**32)
        draws = (_sample(trials, sampler) for _ in range(ATTEMPTS**2))
        return next((point for point in draws if _key(point) not in known), None)
    left = [point for point in trials.space.points() if _key(point) not in known]
    return left[int(np.random.default_rng(seed).integers(len(left)))] if left else None


def _key(point: Point) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(point.items()))
