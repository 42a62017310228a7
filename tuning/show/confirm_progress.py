"""What the terminal shows of a confirmation: one row per setting, or short plain lines in a pipe."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import fmean, stdev

from rich.console import Console

from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult
from losstune.tuning.confirm.looks import Stop
from losstune.tuning.show.live import LiveDisplay
from losstune.tuning.show.progress import time_text
from losstune.tuning.show.table import Column, Table, TableRow, TerminalTable


@dataclass
class _ArmProgress:
    total: int = 0
    running: int = 0
    ended: int = 0
    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> str:
        """``0.3312 ± 0.0041``: mean and standard deviation over the seeds that are done."""
        if not self.values:
            return "-"
        spread = f" ± {stdev(self.values):.4f}" if len(self.values) > 1 else ""
        return f"{fmean(self.values):.4f}{spread}"


class ConfirmProgress(LiveDisplay):
    """Follows a confirmation and shows it; updated by its searcher."""

    def __init__(
        self, name: str, objective: str, max_epochs: int, runs: Iterable[ConfirmRun], console: Console
    ) -> None:
        """Start from the runs as they are on disk."""
        super().__init__(console)
        self._title = f"study {name}, confirmation"
        self._objective = objective
        self._max_epochs = max_epochs
        self._arms: dict[str, _ArmProgress] = {}
        for run in runs:
            arm = self._arms.setdefault(run.arm.name, _ArmProgress())
            arm.total += 1
            if (result := run.result()) is not None and not run.is_to_be_trained:
                self._take_in(arm, result)
        self._epochs = 0

    def started(self, run: ConfirmRun) -> None:
        """A run was handed out."""
        self._arms[run.arm.name].running += 1

    def trained(self, run: ConfirmRun, epochs: int) -> None:
        """A worker reported some more epochs."""
        self._epochs += epochs
        self._view.changed()

    def ended(self, run: ConfirmRun, result: RunResult) -> None:
        """A run ended."""
        arm = self._arms[run.arm.name]
        arm.running -= 1
        self._take_in(arm, result)

    def stopped(self, stop: Stop) -> None:
        """A setting gets no more seeds."""
        self._arms[stop.name].total = stop.seeds
        self.notes((str(stop),))

    def _take_in(self, arm: _ArmProgress, result: RunResult) -> None:
        arm.ended += 1
        if result.best is not None:
            arm.values.append(result.best)

    @property
    def _ended(self) -> int:
        return sum(arm.ended for arm in self._arms.values())

    @property
    def _total(self) -> int:
        return sum(arm.total for arm in self._arms.values())

    def _seconds_left(self) -> float | None:
        """At the pace so far, were every run to use all its epochs."""
        if not self._epochs:
            return None
        running = sum(arm.running for arm in self._arms.values())
        return (self._total - self._ended - running / 2) * self._max_epochs * self._seconds / self._epochs

    def _table(self) -> TerminalTable:
        left = self._seconds_left()
        title = f"{self._title}  {time_text(self._seconds)}"
        if self._ended < self._total and left is not None:
            title += f", {self._ended} of {self._total} runs, {time_text(left)} left"
        spare = {"running": 2, "seeds": 1}
        names = ("setting", "running", "seeds", f"{self._objective} ± sd")
        columns = [Column(name, spare=spare.get(name, 0)) for name in names]
        rows = [
            TableRow(name, [str(arm.running), f"{arm.ended}/{arm.total}", arm.mean]) for name, arm in self._arms.items()
        ]
        return TerminalTable(Table(columns, rows), title)

    def _lines(self) -> Iterator[str]:
        best = max(self._arms, key=lambda name: fmean(self._arms[name].values or [-math.inf]))
        highest = f"highest mean so far {best} {self._objective} {self._arms[best].mean}"
        yield (
            f"[{time_text(self._seconds)}] confirmation: {self._ended} of {self._total} runs, "
            f"{highest if self._arms[best].values else 'no value yet'}, {time_text(self._seconds_left())} left"
        )
