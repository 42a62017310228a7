"""Hands the runs of a confirmation to Ray Tune, and keeps how each one ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult
from losstune.tuning.show.confirm_progress import ConfirmProgress
from losstune.tuning.storage.bucket import BucketError
from losstune.tuning.study.messages import Report, Task


@dataclass
class _Running:
    run: ConfirmRun
    started: float
    alone: bool
    epoch: int = 0


class ConfirmSearcher(Searcher):
    """Gives out the runs that are left, in their order; nothing is proposed and nothing is cut.

    A run that found no room on a shared GPU comes again after all others, with nothing beside it.

    Attributes:
        storage_error: why runs could not be saved, empty while they can; none is given out any more.
    """

    def __init__(
        self, runs: list[ConfirmRun], concurrency: Callable[[], int], progress: ConfirmProgress, attempt: int
    ) -> None:
        """Take the runs that have no result yet, for the launch of this number, so many at a time."""
        super().__init__()
        self.storage_error = ""
        self._attempt = attempt
        self._left = list(runs)
        self._to_run_alone: list[ConfirmRun] = []
        self._concurrency = concurrency
        self._progress = progress
        self._running: dict[str, _Running] = {}
        self._given = 0

    def suggest(self, trial_id: str) -> Any:
        """The next run; None while there may be one later; FINISHED when all have ended: Tune asks no more then."""
        if self.storage_error:
            return str(Searcher.FINISHED)  # at None, with no run going on, Tune asks again for ten minutes
        busy = len(self._running) >= self._concurrency() or any(running.alone for running in self._running.values())
        alone = not self._left
        if busy or (alone and self._running):
            return None
        waiting = self._left or self._to_run_alone
        if not waiting:
            return str(Searcher.FINISHED)
        run = waiting.pop(0)
        self._running[trial_id] = _Running(run, time.time(), alone)
        self._progress.started(run)
        self._given += 1
        task = Task(
            loss_fn=run.arm.loss_fn,
            number=self._given,
            settings=run.settings,
            place=run.study.files.place(run.folder),
            rungs=(),
            passed=(),
            attempt=self._attempt,
        )
        return {"task": task}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A run goes on."""
        report = Report.from_result(result)
        self._progress.notes(report.notes)
        self._count(trial_id, report.epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A run ended by itself, or with its worker; what was merely stopped goes on at the next confirmation."""
        report = Report.from_result(result) if result is not None and not error else None
        if report is not None and report.end is None:
            return
        if report is not None and report.end == "storage":
            self.storage_error = report.error
            return
        if report is not None and report.end == "memory" and not self._running[trial_id].alone:
            run = self._running.pop(trial_id).run
            self._to_run_alone.append(run)
            self._progress.notes((f"{run.name}: no room on its GPU; it goes on alone when the others have ended",))
            return
        if report is not None:
            self._count(trial_id, report.epoch)
        running = self._running[trial_id]
        if lost := running.run.study.store.lost:  # it is another launch's to say how the run ended
            self.storage_error = lost
            return
        try:
            finished = _result(running, report)
            running.run.finish(finished)
        except BucketError as failure:  # it goes on from its last state, or only tells its end again
            self.storage_error = str(failure)
            return
        del self._running[trial_id]
        self._progress.ended(running.run, finished)

    def _count(self, trial_id: str, epoch: int) -> None:
        running = self._running[trial_id]
        self._progress.trained(running.run, max(0, epoch - running.epoch))
        running.epoch = max(epoch, running.epoch)

    def save(self, checkpoint_path: str) -> None:
        """Ray's copy is not used; the runs' folders are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """See :meth:`save`."""

    def get_state(self) -> dict[str, Any]:
        """See :meth:`save`."""
        return {}


def _result(running: _Running, report: Report | None) -> RunResult:
    """How a run ended, with the time that its epochs took; None: its worker died once too often."""
    running.run.study.files.update_run(running.run.folder)
    records = read_history(running.run.folder / HISTORY_FILE)
    failed = report is None or report.end in (None, "error", "memory")
    return RunResult(
        end="failed" if failed else report.end,  # type: ignore[union-attr]
        reason="its worker died" if report is None else report.error,
        epochs=len(records),
        best=report.best if report is not None and report.best_epoch > 0 else None,
        best_epoch=report.best_epoch if report is not None else 0,
        seconds=sum(record["seconds"] for record in records),
        started=records[0]["time"] - records[0]["seconds"] if records else running.started,
        finished=records[-1]["time"] if records else time.time(),
    )
