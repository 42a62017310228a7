"""Ray Searcher ↔ Optuna: proposes trials, level between losses, and tells the truth how they went."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ray.tune.search import Searcher

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.search.allocation import Turns
from losstune.tuning.search.proposals import propose
from losstune.tuning.show.progress import Progress, counted
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.passwords import masked
from losstune.tuning.storage.study_files import StudyFiles
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.study import TRIALS
from losstune.tuning.study.trial import DIVERGED, Ending, TrialView, trial_name


@dataclass
class _Running:
    """A trial that Ray works on, the epochs of it that are counted as spent, and whether no other may run beside it."""

    loss_fn: str
    number: int
    epoch: int
    alone: bool


class StudySearcher(Searcher):
    """One searcher for all losses of a study.

    Attributes:
        storage_error: why trials could not be saved, empty while they can; nothing is proposed any more.

    The next trial goes to the loss whose turn it is. A trial that an earlier launch left unfinished comes before
    any new one. One that found no room on a shared GPU goes on from its checkpoint when all others have ended, with
    nothing beside it; if there is no room then, it fails.
    """

    def __init__(
        self,
        trials: Mapping[str, LossTrials],
        settings: StudySettings,
        managed: Mapping[str, Any],
        files: StudyFiles,
        concurrency: Callable[[], int],
        progress: Progress,
        attempt: int,
        storage_name: str,
    ) -> None:
        """Take over the trials of every loss.

        Args:
            trials: settled, as after :meth:`LossTrials.settle`; those that have not ended are continued.
            managed: training settings that the study sets for every trial.
            files: the study's.
            concurrency: trials at a time, as many as there is room for now.
            attempt: number of this launch.
            storage_name: where the truth is, for messages.
        """
        super().__init__()
        self._trials = trials
        self._settings = settings
        self._managed = managed
        self._files = files
        self._concurrency = concurrency
        self._progress = progress
        self._attempt = attempt
        self._storage_name = storage_name
        self.storage_error = ""
        self._running: dict[str, _Running] = {}
        self._to_run_alone: list[TrialView] = []
        self._to_continue = [trial for loss in trials.values() for trial in loss if trial.ending is None]
        self._turns = Turns(trials, settings)
        for loss_fn, own in trials.items():
            progress.add_loss(loss_fn, counted(own))

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while there may be one later; FINISHED when all have ended: Tune asks no more then."""
        if self.storage_error:
            return str(Searcher.FINISHED)  # at None, with no trial running, Tune asks again for ten minutes
        if len(self._running) >= self._concurrency() or self._runs_alone:
            return None
        with self._storing():
            while (trial := self._next_trial()) is not None:
                try:
                    settings = self._trials[trial.loss_fn].space.settings(trial.point)
                except ValueError as error:
                    self._end(trial.loss_fn, trial.number, Ending("failed", f"derived: {error}", 0, None, 0))
                    continue
                return {"task": self._start(trial_id, trial, settings)}
            if self._to_run_alone and not self._running:
                trial = self._resumed(self._to_run_alone)
                settings = self._trials[trial.loss_fn].space.settings(trial.point)
                return {"task": self._start(trial_id, trial, settings, alone=True)}
        # One that runs may yet find no room, and then comes again.
        return None if self._running and not self.storage_error else str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial goes on."""
        self._count(trial_id, Report.from_result(result))

    def record_rung(self, report: Report) -> bool:
        """Record that a trial goes on from a rung; false if nothing can be saved any more."""
        with self._storing():
            self._trials[report.loss_fn].report(report.number, report.epoch, report.best)
        return not self.storage_error

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: by itself, cut, or with its worker."""
        running = self._running[trial_id]
        report = Report.from_result(result) if result is not None and not error else None
        if report is not None and report.end == "storage":  # no fault of the trial's: it waits for the next launch
            self.storage_error = report.error
            return
        if report is not None and report.end == "memory" and not running.alone:
            self._wait_to_run_alone(trial_id)
            return
        if report is not None:
            self._count(trial_id, report)
        with self._storing():
            ending = self._ending_of(running, report)
            self._spend(running, ending.epochs)
            del self._running[trial_id]
            self._end(running.loss_fn, running.number, ending)

    def unfinished(self) -> list[TrialView]:
        """Trials that are running, or still wait to be continued."""
        running = [self._trials[run.loss_fn][run.number] for run in self._running.values()]
        return running + self._to_run_alone + self._to_continue

    def save(self, checkpoint_path: str) -> None:
        """Ray's copy of the search is not used; the truth is in the study."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """See :meth:`save`."""

    def get_state(self) -> dict[str, Any]:
        """See :meth:`save`."""
        return {}

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """The truth can not be written: stop, with nothing lost. What is not told is told at the next launch."""
        try:
            yield
        except STORAGE_FAILURES as error:
            self.storage_error = f"{self._storage_name}: can not be written: {masked(storage_reason(error))}"

    def _next_trial(self) -> TrialView | None:
        """A trial that an earlier launch left, else a new one of the loss whose turn it is."""
        if self._to_continue:
            return self._resumed(self._to_continue)
        while (loss_fn := self._turns.next_loss([run.loss_fn for run in self._running.values()])) is not None:
            own = self._trials[loss_fn]
            point = propose(own, self._settings.sampler, self._settings.seed)
            if point is not None:
                trial = own[own.add(point, derived_seed(self._settings.seed, loss_fn, len(own)))]
                self._progress.started(trial, new=True)
                return trial
            self._turns.exhaust(loss_fn)
        return None

    @property
    def _runs_alone(self) -> bool:
        return any(run.alone for run in self._running.values())

    def _wait_to_run_alone(self, trial_id: str) -> None:
        running = self._running.pop(trial_id)
        trial = self._trials[running.loss_fn][running.number]
        self._to_run_alone.append(trial)
        self._progress.waits(trial, "no room on its GPU; it goes on alone when the others have ended")
        with self._storing():
            self._trials[running.loss_fn].pause(running.number)

    def _resumed(self, waiting: list[TrialView]) -> TrialView:
        """The first of the trials that wait to go on."""
        trial = waiting.pop(0)
        self._trials[trial.loss_fn].resume(trial.number)
        self._progress.started(trial, new=False)
        return trial

    def _start(self, trial_id: str, trial: TrialView, settings: dict[str, Any], *, alone: bool = False) -> Task:
        self._running[trial_id] = _Running(trial.loss_fn, trial.number, trial.epochs, alone)
        seed = derived_seed(self._settings.seed, trial.loss_fn, trial.number)
        return Task(
            loss_fn=trial.loss_fn,
            number=trial.number,
            settings={**settings, **self._managed, "seed": seed},
            place=self._files.place(self._files.folder / TRIALS / trial.name),
            rungs=self._settings.rungs,
            passed=tuple(sorted(trial.rungs)),
            attempt=self._attempt,
        )

    def _end(self, loss_fn: str, number: int, ending: Ending) -> None:
        own = self._trials[loss_fn]
        own.end(number, ending)
        self._progress.ended(own[number], own)
        for dropped in self._turns.judge():
            self._progress.dropped(str(dropped))

    def _count(self, trial_id: str, report: Report) -> None:
        new = self._spend(self._running[trial_id], report.epoch)
        self._progress.trained(self._trials[report.loss_fn][report.number], report, new)

    def _spend(self, running: _Running, epoch: int) -> int:
        """Count a trial's epochs up to this one, each once; returns how many are new."""
        new = max(0, epoch - running.epoch)
        running.epoch += new
        self._turns.spend(running.loss_fn, new)
        return new

    def _ending_of(self, running: _Running, report: Report | None) -> Ending:
        ending = _ending(report) if report is not None else Ending("failed", "its worker died", 0, None, 0)
        if report is not None and report.end not in ("error", "memory"):
            return ending
        folder = self._files.folder / TRIALS / trial_name(running.loss_fn, running.number)
        self._files.update_run(folder)
        return ending_from_history(folder, self._settings, "failed", ending.reason)


def _ending(report: Report) -> Ending:
    best = report.best if report.best_epoch > 0 else None
    match report.end:
        case "epochs":
            return Ending("complete", "used its epochs", report.epoch, best, report.best_epoch)
        case "patience":
            return Ending(
                "complete", f"no new best since epoch {report.best_epoch}", report.epoch, best, report.best_epoch
            )
        case "diverged":
            return Ending("pruned", DIVERGED, report.epoch, best, report.best_epoch)
        case "memory":
            reason = f"no room on its GPU, with nothing of this study beside it: {report.error}"
            return Ending("failed", reason, report.epoch, best, report.best_epoch)
        case "error" | "storage":
            return Ending("failed", report.error, report.epoch, best, report.best_epoch)
        case None:
            return Ending("pruned", f"cut at rung {report.epoch}", report.epoch, best, report.best_epoch)


def ending_from_history(
    folder: Path, settings: StudySettings, state: Literal["pruned", "failed"], reason: str
) -> Ending:
    """The end of a trial whose worker can not tell: what its history on disk says of it."""
    try:
        records = read_history(folder / HISTORY_FILE)
    except UserError as error:
        return Ending(state, f"{reason}; {error}", 0, None, 0)
    values = [(record[settings.objective], -int(record["epoch"])) for record in records if settings.objective in record]
    if not values:
        return Ending(state, reason, len(records), None, 0)
    best, negative_epoch = max(values)
    return Ending(state, reason, len(records), best, -negative_epoch)
