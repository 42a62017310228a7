"""What the terminal shows of a study: one live table, or short plain lines in a pipe."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from rich.console import Console, Group
from rich.text import Text

from losstune.trainer.base.console import say
from losstune.tuning.show.live import LiveDisplay
from losstune.tuning.show.table import Column, Table, TableRow, TerminalTable
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.messages import Report
from losstune.tuning.study.trial import State, TrialView


@dataclass
class LossProgress:
    """Counts of one loss."""

    states: dict[State, int] = field(default_factory=lambda: dict.fromkeys(get_args(State), 0))
    epochs: int = 0
    new_epochs: int = 0
    best: TrialView | None = None
    best_value: float = float("-inf")

    def count(self, trial: TrialView) -> None:
        """Take in a trial that the truth knows."""
        self.states[trial.shown_state] += 1
        self.epochs += trial.epochs
        self.consider(trial, trial.rank_value)

    def consider(self, trial: TrialView, value: float) -> None:
        """Keep the best trial; of equal ones the first."""
        if value > self.best_value:
            self.best, self.best_value = trial, value


def counted(trials: Iterable[TrialView]) -> LossProgress:
    """The counts of a loss as the truth knows it."""
    progress = LossProgress()
    for trial in trials:
        progress.count(trial)
    return progress


def setting_text(trial: TrialView) -> str:
    """A trial's chosen settings in one line."""
    return ", ".join(f"{name} {_short(value)}" for name, value in trial.point.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def progress_table(losses: Mapping[str, LossProgress], settings: StudySettings, title: str, seconds: float) -> Group:
    """The table of a study and its best settings; ``seconds`` since the launch, 0 where nothing is running.

    Args:
        losses: by title.
    """
    spare = {"running": 2, "pruned": 2, "done": 1, "failed": 1, "epochs": 1, "epochs/s": 3, "left": 1}
    names = ["loss", "running", "pruned", "done", "failed", "epochs", f"best {settings.objective}"]
    names += ["epochs/s", "left"] if seconds else []
    columns = [Column(name, spare=spare.get(name, 0)) for name in names]
    rows = []
    for name, loss in losses.items():
        counts = [str(loss.states[s]) for s in ("running", "pruned", "complete", "failed")]
        cells = [*counts, _spent(loss, settings), f"{loss.best_value:.4f}" if loss.best else "-"]
        if seconds:
            cells += [f"{loss.new_epochs / seconds:.1f}", time_text(seconds_left(loss, settings, seconds))]
        rows.append(TableRow(name, cells))
    table = TerminalTable(Table(columns, rows), title)
    bests = [Text(f"{loss.best.name}: {setting_text(loss.best)}", style="dim") for loss in losses.values() if loss.best]
    return Group(table, *bests)


def counts_text(loss: LossProgress, settings: StudySettings) -> str:
    """``1 running, 3 pruned, 2 done, 0 failed, 40/600 epochs, best val/mrr 0.3312 (infonce-0007)``."""
    s = loss.states
    best = f"best {settings.objective} {loss.best_value:.4f} ({loss.best.name})" if loss.best else "no value yet"
    return (
        f"{s['running']} running, {s['pruned']} pruned, {s['complete']} done, {s['failed']} failed, "
        f"{_spent(loss, settings)} epochs, {best}"
    )


def _spent(loss: LossProgress, settings: StudySettings) -> str:
    budget = settings.budget
    own_budget = budget.epochs is not None and not settings.race
    return f"{loss.epochs}/{budget.epochs}" if own_budget else str(loss.epochs)


def seconds_left(loss: LossProgress, settings: StudySettings, seconds: float) -> float | None:
    """Time to the end of a loss's budget at the pace of this launch, None before there is a pace."""
    if not loss.new_epochs:
        return None
    budget = settings.budget
    if budget.epochs is not None:
        left = max(0, budget.epochs - loss.epochs)
    else:
        ended = loss.states["complete"] + loss.states["pruned"] + loss.states["failed"]
        left = round(((budget.trials or 0) - ended) * loss.epochs / max(1, ended))
    return max(0.0, left * seconds / loss.new_epochs)


def time_text(seconds: float | None) -> str:
    """``1:02:03``, ``2:03``, or ``-`` where it is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress(LiveDisplay):
    """Follows a launch and shows it; updated by the searcher."""

    def __init__(self, name: str, settings: StudySettings, console: Console) -> None:
        super().__init__(console)
        self._settings = settings
        self._title = f"study {name}"
        self._losses: dict[str, LossProgress] = {}
        self._titles: dict[str, str] = {}

    def add_loss(self, loss: str, progress: LossProgress, title: str) -> None:
        """Show a loss as the truth knows it at the start of this launch."""
        self._losses[loss] = progress
        self._titles[loss] = title

    def started(self, trial: TrialView, *, new: bool) -> None:
        """A trial was handed out; one that is continued was counted before."""
        states = self._losses[trial.loss].states
        states["running"] += 1
        states["paused"] -= not new

    def trained(self, trial: TrialView, report: Report, epochs: int) -> None:
        """A worker reported some more epochs."""
        self.notes(report.notes)
        loss = self._losses[report.loss]
        loss.epochs += epochs
        loss.new_epochs += epochs
        if report.end in (None, "epochs", "patience"):
            loss.consider(trial, report.best)
        self._view.changed()

    def waits(self, trial: TrialView, why: str, again: int) -> None:
        """A trial that was running goes on later; so many of its epochs will be told again."""
        loss = self._losses[trial.loss]
        loss.epochs -= again
        loss.states["running"] -= 1
        loss.states["paused"] += 1
        say(self._console, f"{trial.name}: {why}")

    def ended(self, trial: TrialView, others: Iterable[TrialView]) -> None:
        """A trial ended; if it was the best and no longer counts, the best of all others is."""
        loss = self._losses[trial.loss]
        loss.states["running"] -= 1
        loss.states[trial.state] += 1
        if loss.best and loss.best.number == trial.number and trial.rank_value < loss.best_value:
            loss.best, loss.best_value = None, float("-inf")
            for other in others:
                loss.consider(other, other.rank_value)

    def dropped(self, why: str) -> None:
        """A loss left the race."""
        say(self._console, f"Dropped: {why}")

    def given_up(self, why: str) -> None:
        """A loss gets no more trials, because all that it had failed."""
        say(self._console, why)

    def _table(self) -> Group:
        seconds = self._seconds
        titled = {self._titles[name]: loss for name, loss in self._losses.items()}
        return progress_table(titled, self._settings, f"{self._title}  {time_text(seconds)}", seconds)

    def _lines(self) -> Iterator[str]:
        seconds = self._seconds
        for name, loss in self._losses.items():
            yield (
                f"[{time_text(seconds)}] {self._titles[name]}: {counts_text(loss, self._settings)}, "
                f"{time_text(seconds_left(loss, self._settings, seconds))} left"
            )
