"""Where the next point of a loss comes from: its start points, then its sampler. Never a point twice.

A proposal depends on (study seed, loss, trial number) and on the trials told so far, and on nothing else:
each one gets a sampler of its own, freshly seeded. A study that was interrupted proposes the same trials.
"""

import warnings
from collections.abc import Collection, Sequence

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from losstune.tuning.search.agreement import informs
from losstune.tuning.search.both_ranked import BothRanked
from losstune.tuning.search.cube import Key, key
from losstune.tuning.search.improvement import promising
from losstune.tuning.space.search_space import MAX_GRID, Point, Range, SearchSpace
from losstune.tuning.space.settings import SamplerName
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.quiet_optuna import quiet_optuna
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.trial import TrialView

ATTEMPTS = 32
"""Draws of a sampler that may hit known points before the space is searched for what is left."""


def propose(
    trials: LossTrials, sampler: SamplerName, study_seed: int, earlier: Sequence[TrialView] = ()
) -> Point | None:
    """The next point of a loss; None if every point of its space has been proposed."""
    known = {key(trial.point) for trial in trials}
    for point in trials.space.start:
        if key(point) not in known:
            return point
    if sampler == "grid":
        return next((point for point in trials.space.points() if key(point) not in known), None)
    if earlier and not informs(list(trials), earlier, trials.space):
        earlier = ()
    if sampler == "gp":
        seed = derived_seed(study_seed, trials.loss, len(trials))
        drawn = promising(list(trials), trials.space, seed, known, earlier)
    else:
        drawn = _drawn(trials, known, sampler, study_seed, earlier)
    if drawn is not None:
        return drawn
    return _unseen(trials, known, derived_seed(study_seed, trials.loss, len(trials), "unseen"))


def _drawn(
    trials: LossTrials, known: Collection[Key], sampler: SamplerName, study_seed: int, earlier: Sequence[TrialView]
) -> Point | None:
    """A new point from one of Optuna's samplers; None if all of its draws are known."""
    both = BothRanked(earlier, list(trials), distributions(trials.space)) if earlier else trials
    for attempt in range(ATTEMPTS):
        seed = derived_seed(study_seed, trials.loss, len(trials), attempt)
        point = _sample(both, trials.space, _make_sampler(sampler, trials.space, seed))
        if key(point) not in known:
            return point
    return None


def _make_sampler(name: SamplerName, space: SearchSpace, seed: int) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed % 2**32)
    conditional = any(parameter.when for parameter in space.parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Without groups, parameters that exist only in some trials would be sampled on their own.
        return TPESampler(seed=seed % 2**32, multivariate=True, group=conditional)


@quiet_optuna()
def _sample(trials: LossTrials | BothRanked, space: SearchSpace, sampler: BaseSampler) -> Point:
    """One point from Optuna's sampler interface, with the space's own conditions."""
    study, trial = trials.draft()
    sampler.before_trial(study, trial)
    jointly = sampler.infer_relative_search_space(study, trial)
    drawn = sampler.sample_relative(study, trial, jointly)
    point: Point = {}
    for name, distribution in distributions(space).items():
        parameter = next(p for p in space.parameters if p.name == name)
        if not parameter.active(point):
            continue
        value = drawn[name] if name in drawn else sampler.sample_independent(study, trial, name, distribution)
        point[name] = parameter.domain.exact(value) if isinstance(parameter.domain, Range) else value
    return point


def _unseen(trials: LossTrials, known: Collection[Key], seed: int) -> Point | None:
    """A point by chance of those that are left; a sampler may prefer a part of the space that is used up."""
    size = trials.space.size
    if size is None or size > MAX_GRID:
        sampler = RandomSampler(seed=seed % 2**32)
        draws = (_sample(trials, trials.space, sampler) for _ in range(ATTEMPTS**2))
        return next((point for point in draws if key(point) not in known), None)
    left = [point for point in trials.space.points() if key(point) not in known]
    return left[int(np.random.default_rng(seed).integers(len(left)))] if left else None
