"""One trial as plain values: what was proposed, how far it got, how it ended, and how trials are ranked."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from optuna.distributions import BaseDistribution

from losstune.tuning.space.search_space import Point

EndState = Literal["complete", "pruned", "failed"]
State = Literal["running", "paused", EndState]
DIVERGED = "diverged"
TIME_BUDGET = "time budget"
_WHEN = re.compile(r", (in epoch \d+, batch \d+|validating after epoch \d+)$")
"""The end of a reason that says where a NaN arose, which differs from trial to trial."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        state: complete, pruned or failed.
        reason: why, in words; of one that diverged also where the first NaN or infinity arose, if that is known.
        epochs: epochs it trained.
        best: its best value so far, None if it never had one.
        best_epoch: the epoch of that value, 0 if none.
    """

    state: EndState
    reason: str
    epochs: int
    best: float | None
    best_epoch: int

    @property
    def diverged(self) -> bool:
        """Whether a number was not finite."""
        return self.state != "failed" and self.reason.partition(":")[0] == DIVERGED


def cause_of(reason: str) -> str:
    """A reason without the epoch and the batch: trials that ended alike have the same."""
    return _WHEN.sub("", reason)


@dataclass(frozen=True)
class TrialView:
    """A trial as the truth knows it; ``started`` and ``finished`` in Unix seconds.

    ``value`` and ``distributions`` are what Optuna's samplers see of it, beside its end and its point; ``digest``
    is the checksum of its parameters as they were proposed. ``retry_of`` is the failed trial that it tries again.
    """

    loss: str
    number: int
    point: Point
    state: State
    rungs: dict[int, float]
    ending: Ending | None
    started: float
    finished: float | None
    value: float | None = None
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    digest: str = ""
    retry_of: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether its parameters are those that were proposed."""
        return self.digest == point_digest(self.point, self.distributions)

    @property
    def shown_state(self) -> State:
        """Its end's where it has one: a crash between the two leaves the state for the next launch to complete."""
        return self.ending.state if self.ending else self.state

    @property
    def name(self) -> str:
        """``infonce-0007``, also the name of its folder and of its run in MLflow."""
        return trial_name(self.loss, self.number)

    @property
    def epochs(self) -> int:
        """Epochs that the truth knows it has trained."""
        return self.ending.epochs if self.ending else max(self.rungs, default=0)

    @property
    def spent(self) -> int:
        """Epochs of a budget that it has used: those it has trained, and at least one once it has ended.

        So a loss whose trials fail before their first epoch uses its budget up too, and its turns.
        """
        return max(1, self.epochs) if self.ending else self.epochs

    @property
    def rank_value(self) -> float:
        """What it is ranked by: best so far; −inf for a diverged or failed trial, or one without a value."""
        if self.ending is None:
            return max(self.rungs.values(), default=-math.inf)
        if self.ending.state == "failed" or self.ending.diverged or self.ending.best is None:
            return -math.inf
        return self.ending.best


def trial_name(loss: str, number: int) -> str:
    """``infonce-0007``."""
    return f"{loss}-{number:04d}"


def point_digest(point: Point, used: Mapping[str, BaseDistribution]) -> str:
    """What the storage keeps beside a trial's parameters, to notice when one of them changes."""
    stored = [(name, used[name].to_internal_repr(value)) for name, value in sorted(point.items())]
    return hashlib.blake2b(
        repr([(name, float(number)) for name, number in stored]).encode(), digest_size=16
    ).hexdigest()


def ranked(trials: Iterable[TrialView]) -> list[TrialView]:
    """Ended trials with a value, the highest best-so-far first, COMPLETE and PRUNED together; of equals the first."""
    ended = (trial for trial in trials if trial.ending is not None and trial.rank_value > -math.inf)
    return sorted(ended, key=lambda trial: (-trial.rank_value, trial.number))


def best_trial(trials: Iterable[TrialView]) -> TrialView | None:
    """The first of :func:`ranked`, None if there is none."""
    return next(iter(ranked(trials)), None)
