"""Do rungs agree with the end? How often the better of two settings early on is the better one later.

ASHA cuts by rank at a rung. If the order there says little about the order at the end, the rung is too early.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.study.trial import TrialView

Numbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
MIN_RUNS = 10
"""Runs below which nothing is said of a rung."""

LATE_ENOUGH = 0.7
"""Share of pairs in the same order from which on a rung is called late enough: Kendall's τ of 0.4."""


@dataclass(frozen=True)
class RungRun:
    """A run by its best so far at epochs; only runs of one group are compared.

    Attributes:
        unit: what is independent of the others: a trial, or a seed with all its runs.
        best: best so far by epoch; the last is the end.
    """

    group: str
    unit: str
    best: Mapping[int, float]

    def at(self, epoch: int) -> float | None:
        """Best so far at an epoch; None if it had no value by then."""
        return max((value for e, value in self.best.items() if e <= epoch and math.isfinite(value)), default=None)


@dataclass(frozen=True)
class Agreement:
    """How often the better of two runs at one epoch is the better one later; 0.5 is chance.

    Attributes:
        later: an epoch, None for the end.
        share: of pairs in the same order, a tie early on counts half. Kendall's τ is 2 · share − 1.
        low, high: 95 % interval, jackknife over units; where all pairs agree, that of Clopper and Pearson.
    """

    epoch: int
    later: int | None
    runs: int
    pairs: int
    share: float
    low: float
    high: float

    @property
    def tau(self) -> float:
        """Kendall's rank correlation over the pairs, in [−1, 1]."""
        return 2 * self.share - 1


def agreement(runs: Sequence[RungRun], epoch: int, later: int | None = None) -> Agreement | None:
    """Compare the order at an epoch with the order later; None without a pair that is ordered later.

    Args:
        runs: all of them have got to ``later``.
    """
    found = _tally(runs, epoch, later)
    if not found.pairs:
        return None
    share = found.kept / found.pairs
    some = (found.pairs_of > 0) & (found.pairs_of < found.pairs)
    without = (found.kept - found.kept_of[some]) / (found.pairs - found.pairs_of[some])
    spread = math.sqrt((len(without) - 1) * float(np.var(without))) if len(without) > 1 else 0.5
    if share in (0.0, 1.0):  # no spread is seen, which a few pairs that agree by chance do not have either
        spread = (1 - 0.025 ** (1 / found.independent)) / 1.96
    low, high = max(0.0, share - 1.96 * spread), min(1.0, share + 1.96 * spread)
    return Agreement(epoch, later, len(runs), found.pairs, share, low, high)


class _Tally:
    """Pairs of a group that are ordered later. Of one in the same order before 1 is kept, of one tied there ½.

    Attributes:
        kept_of, pairs_of: by unit; a pair within a unit counts once.
        independent: how many pairs share no unit with each other, taken as they come.
    """

    def __init__(self, units: int) -> None:
        self.kept_of = np.zeros(units)
        self.pairs_of = np.zeros(units)
        self.kept = 0.0
        self.pairs = 0
        self.independent = 0
        self._alone = np.ones(units, bool)

    def add(self, unit: int, others: Numbers, gaps_before: Values, gaps_after: Values) -> None:
        """Pairs of one run with some others, by the differences to them."""
        ordered = gaps_after != 0
        kept = ordered * (1 + np.sign(gaps_before) * np.sign(gaps_after)) / 2
        self.kept += float(kept.sum())
        self.pairs += int(ordered.sum())
        self.kept_of[unit] += kept.sum()
        self.pairs_of[unit] += ordered.sum()
        apart = others != unit
        self.kept_of += np.bincount(others, kept * apart, len(self.kept_of))
        self.pairs_of += np.bincount(others, ordered & apart, len(self.pairs_of))
        if self._alone[unit] and (free := ordered & self._alone[others]).any():
            self._alone[[unit, others[free.argmax()]]] = False
            self.independent += 1


def _tally(runs: Sequence[RungRun], epoch: int, later: int | None) -> _Tally:
    """Each run with all that follow at once: a study has thousands of runs, and millions of pairs."""
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(run.unit for run in runs))}
    groups: dict[str, list[tuple[int, float, float]]] = {}
    for run in runs:
        own = groups.setdefault(run.group, [])
        before, after = run.at(epoch), run.at(later or max(run.best))
        if before is not None and after is not None:
            own.append((numbers[run.unit], before, after))
    tally = _Tally(len(numbers))
    for own in groups.values():
        units = np.array([unit for unit, _, _ in own])
        values = np.array([[before, after] for _, before, after in own])
        for one in range(len(own) - 1):
            gaps = values[one] - values[one + 1 :]
            tally.add(units[one], units[one + 1 :], gaps[:, 0], gaps[:, 1])
    return tally


def search_agreements(trials: Mapping[str, Sequence[TrialView]], rungs: Sequence[int]) -> list[Agreement]:
    """Each rung against the next and against the end, over the search's trials that got there."""

    def reaching(epoch: int | None) -> list[RungRun]:
        """A trial that stopped by patience reached all rungs: its best is carried to them."""
        return [
            RungRun(loss, trial.name, trial.rungs)
            for loss, own in trials.items()
            for trial in own
            if trial.ending is not None
            and trial.ending.best is not None
            and not trial.ending.diverged
            and (trial.state == "complete" or (trial.state == "pruned" and epoch is not None and trial.epochs >= epoch))
        ]

    steps = [*itertools.pairwise(rungs), *((rung, None) for rung in rungs)]
    found = (agreement(reaching(later), rung, later) for rung, later in steps)
    return [one for one in found if one is not None]


def confirm_agreements(runs: Iterable[ConfirmRun], rungs: Sequence[int]) -> list[Agreement]:
    """Each rung against the end in a confirmation, where nothing is cut; settings of a loss with the same seed."""
    found: list[RungRun] = []
    for run in runs:
        result = run.result()
        if result is not None and result.end in ("epochs", "patience") and result.best is not None:
            objective = run.study.spec.settings.objective
            records = read_history(run.folder / HISTORY_FILE)
            best = {int(record["epoch"]): record[objective] for record in records if objective in record}
            found.append(RungRun(f"{run.arm.loss}/{run.seed}", f"seed {run.seed}", best))
    agreements = (agreement(found, rung) for rung in rungs)
    return [one for one in agreements if one is not None]


def rung_verdict(first_rung: int, search: Iterable[Agreement], confirm: Iterable[Agreement]) -> str:
    """Was the first rung too early? From the confirmation if it says enough, since nothing is cut there."""
    for found, where in (
        (confirm, "runs of the confirmation, where nothing is cut"),
        (search, "trials that the search never cut"),
    ):
        one = next((one for one in found if one.epoch == first_rung and one.later is None), None)
        if one is not None and one.runs >= MIN_RUNS:
            return _judged(one, where)
    return (
        f"Too few runs got to the end to say whether the first rung, epoch {first_rung}, was too early: "
        f"at least {MIN_RUNS} are needed."
    )


def _judged(one: Agreement, where: str) -> str:
    fact = (
        f"of two settings of a loss, the better one at epoch {one.epoch} is the better one at the end in "
        f"{100 * one.share:.0f} % of {one.pairs} pairs [{100 * one.low:.0f}, {100 * one.high:.0f}], over {one.runs} "
        f"{where}; 50 % is chance"
    )
    if one.low <= 0.5 and one.share >= LATE_ENOUGH:
        return f"Too few runs agree to say that the first rung was late enough: {fact}."
    if one.low <= 0.5:
        return f"The first rung may have been too early: {fact}. A new study with more --grace-epochs would cut later."
    if one.share < LATE_ENOUGH:
        return f"The first rung was a weak guide: {fact}. A new study with more --grace-epochs would cut later."
    return f"The first rung was late enough: {fact}."
