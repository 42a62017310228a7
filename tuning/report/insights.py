"""The numbers behind a report's figures: curves, what each parameter decides, how trials ended."""

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import optuna
from optuna.trial import FrozenTrial, create_trial

from losstune.trainer.run.history import Record
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.quiet_optuna import quiet_optuna
from losstune.tuning.study.trial import DIVERGED, TrialView

MIN_TRIALS = 20
"""Trials below which nothing is said of importance: the best quarter would be fewer than five."""

BEST_SHARE = 0.25
"""Of the trials, the best. In simulations a tenth, Optuna's default, misses every other real influence in 40 trials."""

_MIN_BEST = 5
_SHUFFLES, _CHANCE = 100, 0.99


@dataclass(frozen=True)
class SearchPoint:
    """The best of a loss after a trial ended: epochs spent, best value, and the trial that has it."""

    spent: int
    best: float
    trial: str


def search_curve(trials: Iterable[TrialView]) -> list[SearchPoint]:
    """Best so far against epochs spent, a point for each ended trial from the first with a value on."""
    ended = sorted((t for t in trials if t.ending is not None), key=lambda t: (t.finished or math.inf, t.number))
    points: list[SearchPoint] = []
    spent = 0
    for trial in ended:
        spent += trial.epochs
        if trial.rank_value > (points[-1].best if points else -math.inf):
            points.append(SearchPoint(spent, trial.rank_value, trial.name))
        elif points:
            points.append(SearchPoint(spent, points[-1].best, points[-1].trial))
    return points


@dataclass(frozen=True)
class LearningCurve:
    """A metric by epoch: its mean over runs, the range of the middle 80 % of them, and how many runs there are."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    runs: list[int]


def learning_curve(histories: Sequence[Sequence[Record]], metric: str) -> LearningCurve:
    """Average runs of one setting; ends where fewer than half of them still train, whose mean would be another's."""
    by_epoch: dict[int, list[float]] = {}
    for record in itertools.chain.from_iterable(histories):
        if math.isfinite(record.get(metric, math.nan)):
            by_epoch.setdefault(int(record["epoch"]), []).append(record[metric])
    kept = [epoch for epoch in sorted(by_epoch) if 2 * len(by_epoch[epoch]) >= len(histories)]
    edges = [np.quantile(by_epoch[epoch], (0.1, 0.9)) for epoch in kept]
    return LearningCurve(
        epochs=kept,
        mean=[fmean(by_epoch[epoch]) for epoch in kept],
        low=[float(low) for low, _ in edges],
        high=[float(high) for _, high in edges],
        runs=[len(by_epoch[epoch]) for epoch in kept],
    )


@dataclass(frozen=True)
class Importance:
    """What separates the best trials of a loss from the others.

    Attributes:
        shares: of each parameter, the largest first; they sum to 1.
        chance: by parameter, the share that it reaches one time in a hundred if values are shuffled among the trials.
        trials: how many there are. best: how many of them count as the best.
    """

    shares: dict[str, float]
    chance: dict[str, float]
    trials: int
    best: int

    def clear(self, name: str) -> bool:
        """Whether a parameter decides more than chance would."""
        return self.shares[name] > self.chance[name]


def importance(space: SearchSpace, trials: Iterable[TrialView]) -> Importance | None:
    """PED-ANOVA (Watanabe et al., IJCAI 2023): how differently the best trials and all trials are spread.

    It knows conditional parameters, and asks only which trials are among the best: so values of cut trials, reached
    in fewer epochs, do no harm. A diverged trial ranks last; failed ones say nothing of their settings.

    Returns:
        None with fewer than 20 trials, fewer than 5 of them with a value, or if no parameter tells the best apart.
    """
    ended = [t for t in trials if t.ending is not None and (t.rank_value > -math.inf or t.ending.diverged)]
    values = np.array([trial.rank_value for trial in ended])
    best = min(math.ceil(BEST_SHARE * len(ended)), int(np.isfinite(values).sum()))
    if len(ended) < MIN_TRIALS or best < _MIN_BEST:
        return None
    evaluate = _Evaluator(space, ended, best / len(ended))
    found = evaluate(values)
    total = sum(found.values())
    if total <= 0:
        return None
    generator = np.random.default_rng(0)
    shuffled = [evaluate(generator.permutation(values)) for _ in range(_SHUFFLES)]
    chance = {name: float(np.quantile([one[name] for one in shuffled], _CHANCE)) / total for name in found}
    order = sorted(found, key=lambda name: -found[name])
    return Importance({name: found[name] / total for name in order}, chance, len(ended), best)


class _Evaluator:
    """Importances of the same trials with other values."""

    @quiet_optuna()
    def __init__(self, space: SearchSpace, trials: Sequence[TrialView], quantile: float) -> None:
        from optuna.importance import PedAnovaImportanceEvaluator  # loads scikit-learn, which many pages do without

        own = distributions(space)
        self._study = optuna.create_study()
        for trial in trials:
            chosen = {name: own[name] for name in trial.point}
            self._study.add_trial(create_trial(params=trial.point, distributions=chosen, value=0.0))
        self._ped_anova = PedAnovaImportanceEvaluator(target_quantile=quantile)

    def __call__(self, values: "np.ndarray[tuple[int]]") -> dict[str, float]:
        lowest = values[np.isfinite(values)].min()
        costs = -np.where(np.isfinite(values), values, lowest - 1)

        def cost(trial: FrozenTrial) -> float:
            return float(costs[trial.number])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {name: float(v) for name, v in self._ped_anova.evaluate(self._study, target=cost).items()}


@dataclass(frozen=True)
class Fate:
    """How some trials of a loss ended: state and reason in words, how many, and the epochs they spent."""

    name: str
    trials: int
    epochs: int


def fates(trials: Iterable[TrialView]) -> list[Fate]:
    """Trials by state and reason, in the order in which a trial could meet them."""
    counts: Counter[str] = Counter()
    epochs: Counter[str] = Counter()
    for trial in trials:
        name = fate(trial)
        counts[name] += 1
        epochs[name] += trial.epochs
    return [Fate(name, counts[name], epochs[name]) for name in sorted(counts, key=fate_order)]


def fate(trial: TrialView) -> str:
    """State and reason of a trial in a few words, without what differs from trial to trial."""
    if trial.ending is None:
        return "not ended"
    if trial.state == "failed":
        return "failed"
    if trial.ending.diverged:
        return DIVERGED
    return "no new best" if trial.ending.reason.startswith("no new best") else trial.ending.reason


def fate_order(name: str) -> tuple[int, int, str]:
    """Sorts fates: trained to the end, cut (the latest rung first), time, diverged, failed, not ended."""
    first = ("used its epochs", "no new best", "cut at rung", "time budget", DIVERGED, "failed", "not ended")
    place = next((i for i, start in enumerate(first) if name.startswith(start)), len(first))
    rung = int(name.rsplit(" ", 1)[-1]) if name.startswith("cut at rung") else 0
    return place, -rung, name
