"""What the terminal shows of a confirmation: one row per setting, or short plain lines in a pipe."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from losstune.trainer.run.show import say
from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult
from losstune.tuning.show.progress import LINE_EVERY_SECONDS, time_text


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


class ConfirmProgress:
    """Follows a confirmation and shows it; updated by its searcher."""

    def __init__(
        self, name: str, objective: str, max_epochs: int, runs: Iterable[ConfirmRun], console: Console
    ) -> None:
        """Start from the runs as they are on disk."""
        self._title = f"study {name}, confirmation"
        self._objective = objective
        self._max_epochs = max_epochs
        self._console = console
        self._arms: dict[str, _ArmProgress] = {}
        for run in runs:
            arm = self._arms.setdefault(run.arm.name, _ArmProgress())
            arm.total += 1
            if (result := run.result()) is not None:
                self._take_in(arm, result)
        self._epochs = 0
        self._told: set[str] = set()
        self._began = self._line_at = time.monotonic()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        self._began = self._line_at = time.monotonic()
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()
            self._console.print(self._table())
        else:
            self._line()

    def started(self, run: ConfirmRun) -> None:
        """A run was handed out."""
        self._arms[run.arm.name].running += 1

    def trained(self, run: ConfirmRun, epochs: int) -> None:
        """A worker reported some more epochs."""
        self._epochs += epochs
        if not self._console.is_terminal and time.monotonic() - self._line_at > LINE_EVERY_SECONDS:
            self._line()

    def notes(self, notes: Iterable[str]) -> None:
        """What the user should know, once."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                say(self._console, note)

    def ended(self, run: ConfirmRun, result: RunResult) -> None:
        """A run ended."""
        arm = self._arms[run.arm.name]
        arm.running -= 1
        self._take_in(arm, result)

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
        seconds = time.monotonic() - self._began
        if not self._epochs:
            return None
        running = sum(arm.running for arm in self._arms.values())
        return (self._total - self._ended - running / 2) * self._max_epochs * seconds / self._epochs

    def _table(self) -> Table:
        seconds = time.monotonic() - self._began
        left = self._seconds_left()
        title = f"{self._title}  {time_text(seconds)}"
        if self._ended < self._total and left is not None:
            title += f", {self._ended} of {self._total} runs, {time_text(left)} left"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("setting", no_wrap=True)
        for name in ("running", "seeds", f"{self._objective} ± sd"):
            table.add_column(name, justify="right", no_wrap=True)
        for name, arm in self._arms.items():
            table.add_row(name, str(arm.running), f"{arm.ended}/{arm.total}", arm.mean)
        return table

    def _line(self) -> None:
        self._line_at = time.monotonic()
        best = max(self._arms, key=lambda name: fmean(self._arms[name].values or [-math.inf]))
        seconds = time.monotonic() - self._began
        highest = f"highest mean so far {best} {self._objective} {self._arms[best].mean}"
        say(
            self._console,
            f"[{time_text(seconds)}] confirmation: {self._ended} of {self._total} runs, "
            f"{highest if self._arms[best].values else 'no value yet'}, {time_text(self._seconds_left())} left",
        )
