"""Do rungs agree with the end? How often the better of two settings early on is the better one later.

ASHA cuts by rank at a rung. If the order there says little about the order at the end, the rung is too early.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.study.trial import TrialView

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
    pairs = list(_pairs(runs, epoch, later))
    if not pairs:
        return None
    total = sum(kept for kept, _ in pairs)
    sums: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for kept, units in pairs:
        for unit in units:
            sums[unit] = sums.get(unit, 0.0) + kept
            counts[unit] += 1
    without = [(total - sums[u]) / (len(pairs) - counts[u]) for u in sums if len(pairs) > counts[u]]
    share = total / len(pairs)
    spread = math.sqrt((len(without) - 1) * float(np.var(without))) if len(without) > 1 else 0.5
    if share in (0.0, 1.0):  # no spread is seen, which a few pairs that agree by chance do not have either
        spread = (1 - 0.025 ** (1 / _independent(pairs))) / 1.96
    low, high = max(0.0, share - 1.96 * spread), min(1.0, share + 1.96 * spread)
    return Agreement(epoch, later, len(runs), len(pairs), share, low, high)


def _independent(pairs: Sequence[tuple[float, set[str]]]) -> int:
    """How many of some pairs share no unit with each other, taken as they come: at least one."""
    seen: set[str] = set()
    count = 0
    for _, units in pairs:
        if not units & seen:
            seen |= units
            count += 1
    return count


def _pairs(runs: Sequence[RungRun], epoch: int, later: int | None) -> Iterator[tuple[float, set[str]]]:
    """For each pair of a group that is ordered later: 1 if it was so before, ½ for a tie, else 0; and its units."""
    groups: dict[str, list[RungRun]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    for one, other in itertools.chain.from_iterable(itertools.combinations(own, 2) for own in groups.values()):
        before = one.at(epoch), other.at(epoch)
        after = one.at(later or max(one.best)), other.at(later or max(other.best))
        if None in before or None in after or after[0] == after[1]:
            continue
        gap = (before[0] - before[1]) * (after[0] - after[1])  # type: ignore[operator]
        yield (0.5 if gap == 0 else float(gap > 0)), {one.unit, other.unit}


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
