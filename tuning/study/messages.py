"""What the driver hands a worker, and what the worker tells it at the end of a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from losstune.trainer.run.history import End
from losstune.tuning.storage.run_places import RunPlace

_KEY = "report"
Fault = Literal["error", "storage", "memory"]
"""How a trial ends that its training does not end."""


@dataclass(frozen=True)
class Task:
    """One trial as a worker gets it.

    Attributes:
        loss, number: which trial.
        settings: flat training settings, complete.
        place: where it is kept: in a folder of its own, or in a part of a bucket.
        rungs: epochs at which it reports for a decision.
        passed: rungs whose decision is known already.
        attempt: number of the launch; workers of an older one can not write any more.
        debug_nan: look for the origin of what is not finite.
    """

    loss: str
    number: int
    settings: dict[str, Any]
    place: RunPlace
    rungs: tuple[int, ...]
    passed: tuple[int, ...]
    attempt: int
    debug_nan: bool = False


@dataclass(frozen=True)
class Report:
    """A trial's standing after some epochs.

    Attributes:
        loss, number: which trial.
        epoch: epochs trained so far.
        best, best_epoch: best objective so far and its epoch; −inf and 0 before any.
        end: why the trial has ended by itself, None while it could go on.
        error: the exception that ended it, in one line, with ``end`` = "error"; with "storage" it could not be
            saved, and is to go on once it can; with "memory" its GPU had no room for it; with "diverged" where the
            first NaN or infinity arose, if that was looked for.
        passed: rungs whose decision the truth knew before this attempt.
        seconds: time spent in the epochs since the last report.
        notes: what the user should know, as files found damaged.
    """

    loss: str
    number: int
    epoch: int
    best: float
    best_epoch: int
    end: End | Fault | None
    error: str
    passed: tuple[int, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    def to_result(self) -> dict[str, Any]:
        """As a Ray result; Ray stops a trial whose result says done."""
        return {_KEY: self, "done": self.end is not None}

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> "Report":
        """Back from a Ray result."""
        report = result[_KEY]
        assert isinstance(report, cls)
        return report
