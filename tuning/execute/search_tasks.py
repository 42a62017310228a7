"""What a search has to train: proposes trials, level between losses, and tells the truth how they went."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from losstune.tuning.search.allocation import Turns
from losstune.tuning.search.endings import ending_from_history, ending_from_report
from losstune.tuning.search.proposals import propose
from losstune.tuning.show.progress import Progress, counted
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.study_files import StudyFiles
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.lost_trials import given_up, given_up_text
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.study import TRIALS
from losstune.tuning.study.trial import TIME_BUDGET, Ending, TrialView, trial_name

_Name = tuple[str, int]
"""A trial's loss and number."""


class SearchTasks:
    """The trials of all losses of a study, as a :class:`TaskSource`.

    The next trial goes to the loss whose turn it is. A trial that an earlier launch left unfinished comes before any
    new one.

    Attributes:
        storage_name: where the truth is, for messages.
    """

    def __init__(
        self,
        trials: Mapping[str, LossTrials],
        settings: StudySettings,
        earlier: Mapping[str, Sequence[TrialView]],
        managed: Mapping[str, Any],
        files: StudyFiles,
        progress: Progress,
        attempt: int,
        storage_name: str,
        *,
        debug_nan: bool = False,
    ) -> None:
        """Take over the trials of every loss.

        Args:
            trials: settled, as after :meth:`LossTrials.settle`; those that have not ended are continued.
            earlier: another study's trials, by the losses that learn from them.
            managed: training settings that the study sets for every trial.
            files: the study's.
            attempt: number of this launch.
            debug_nan: of a trial that diverges, say where the first NaN or infinity arose.
        """
        self.storage_name = storage_name
        self._trials = trials
        self._settings = settings
        self._earlier = earlier
        self._managed = managed
        self._files = files
        self._progress = progress
        self._attempt = attempt
        self._debug_nan = debug_nan
        self._running: dict[_Name, int] = {}  # and the epochs of each that are counted as spent
        self._postponed: list[_Name] = []
        self._to_continue = [trial for loss in trials.values() for trial in loss if trial.ending is None]
        self._turns = Turns(trials, settings)
        self._given_up = {loss for loss, own in trials.items() if given_up(own)}
        for loss, own in trials.items():
            progress.add_loss(loss, counted(own), own.space.title)

    def next_task(self) -> Task | None:
        while (trial := self._next_trial()) is not None:
            try:
                settings = self._trials[trial.loss].space.settings(trial.point)
            except ValueError as error:
                self._end(trial.loss, trial.number, Ending("failed", f"derived: {error}", 0, None, 0))
            else:
                return self._task(trial, settings)
        return None

    def trained(self, report: Report, epochs: int) -> None:
        self._running[report.loss, report.number] += epochs
        self._turns.spend(report.loss, epochs)
        self._progress.trained(self._trials[report.loss][report.number], report, epochs)

    def record_rung(self, report: Report) -> None:
        """A trial goes on from a rung."""
        self._trials[report.loss].report(report.number, report.epoch, report.best)

    def postpone(self, task: Task) -> None:
        own, name = self._trials[task.loss], (task.loss, task.number)
        trial = own[task.number]
        again = self._running.pop(name) - trial.epochs  # from its last rung on it is told again
        self._turns.spend(task.loss, -again)
        self._postponed.append(name)
        reason = "no room on its GPU; it goes on alone when the others have ended"
        self._progress.waits(trial, reason, again)
        own.pause(task.number)

    def resume(self, task: Task) -> Task:
        self._postponed.remove((task.loss, task.number))
        trial = self._resumed(self._trials[task.loss][task.number])
        self._running[task.loss, task.number] = trial.epochs
        return replace(task, passed=tuple(sorted(trial.rungs)))

    def ended(self, task: Task, report: Report | None) -> None:
        self._end(task.loss, task.number, self._ending_of(task, report))

    def wind_up(self, *, timed_out: bool) -> None:
        """Leave no trial running: those that this launch began and not ended wait for the next, or end with its time.

        What an earlier launch left and this one has not begun waits as it did.

        Raises:
            Exception: one of ``STORAGE_FAILURES``; the next launch settles what could not be written.
        """
        for loss, number in [*self._running, *self._postponed]:
            if timed_out:
                self._trials[loss].end(number, self._ending_on_disk(loss, number, "pruned", TIME_BUDGET))
            else:
                self._trials[loss].pause(number)

    def _next_trial(self) -> TrialView | None:
        """A trial that an earlier launch left, else a new one of the loss whose turn it is."""
        if self._to_continue:
            return self._resumed(self._to_continue.pop(0))
        while (loss := self._turns.next_loss(_losses(self._running), _losses(self._postponed))) is not None:
            own = self._trials[loss]
            point = propose(own, self._settings.sampler, self._settings.seed, self._earlier.get(loss, ()))
            if point is not None:
                trial = own[own.add(point, derived_seed(self._settings.seed, loss, len(own)))]
                self._progress.started(trial, new=True)
                return trial
            self._turns.exhaust(loss)
        return None

    def _resumed(self, trial: TrialView) -> TrialView:
        self._trials[trial.loss].resume(trial.number)
        self._progress.started(trial, new=False)
        return trial

    def _task(self, trial: TrialView, settings: dict[str, Any]) -> Task:
        self._running[trial.loss, trial.number] = trial.epochs
        seed = derived_seed(self._settings.seed, trial.loss, trial.number)
        return Task(
            loss=trial.loss,
            number=trial.number,
            settings={**settings, **self._managed, "seed": seed},
            place=self._files.place(self._files.folder / TRIALS / trial.name),
            rungs=self._settings.rungs,
            passed=tuple(sorted(trial.rungs)),
            attempt=self._attempt,
            debug_nan=self._debug_nan,
        )

    def _end(self, loss: str, number: int, ending: Ending) -> None:
        own = self._trials[loss]
        told = self._running.pop((loss, number), own[number].epochs)
        own.end(number, ending)
        self._turns.spend(loss, own[number].spent - told)  # as the next launch counts it
        self._progress.ended(own[number], own)
        if loss not in self._given_up and given_up(own):
            self._given_up.add(loss)
            self._progress.given_up(given_up_text(own.space.title, own))
        for dropped in self._turns.judge():
            self._progress.dropped(str(dropped))

    def _ending_of(self, task: Task, report: Report | None) -> Ending:
        ending = ending_from_report(report) if report else Ending("failed", "its worker died", 0, None, 0)
        if report is not None and report.end not in ("error", "memory"):
            return ending
        return self._ending_on_disk(task.loss, task.number, "failed", ending.reason)

    def _ending_on_disk(self, loss: str, number: int, state: Literal["pruned", "failed"], reason: str) -> Ending:
        folder = self._files.folder / TRIALS / trial_name(loss, number)
        self._files.update_run(folder)
        return ending_from_history(folder, self._settings, state, reason)


def _losses(names: Iterable[_Name]) -> list[str]:
    return [loss for loss, _ in names]
