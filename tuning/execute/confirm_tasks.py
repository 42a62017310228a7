"""What a confirmation has to train: the runs that are left, in their order, and how each one ended.

Where it looks at what it has, the runs after a look wait for all of those before it.
"""

import time

from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.arms import confirm_folder
from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunEnd, RunResult, ended_values, looked
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.show.confirm_progress import ConfirmProgress
from losstune.tuning.storage.lease import LeaseLostError
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.study import Study


class ConfirmTasks:
    """The runs of a confirmation that are to be trained, as a :class:`TaskSource`: none is proposed, none is cut.

    Runs that the looks of the plan spare are not handed out.

    Attributes:
        storage_name: where the runs are kept, for messages.
    """

    def __init__(
        self, study: Study, plan: Plan, runs: list[ConfirmRun], progress: ConfirmProgress, attempt: int
    ) -> None:
        """Take the runs for the launch of this number; a task's number is a run's place among them."""
        self.storage_name = study.files.where(confirm_folder(study))
        self._study = study
        self._plan = plan
        self._runs = runs
        self._progress = progress
        self._attempt = attempt
        self._left = list(range(len(runs)))
        self._known = ended_values(study, plan, again=True)
        self._decided = looked(plan, self._known)
        self._started: dict[int, float] = {}

    def next_task(self) -> Task | None:
        number = next((number for number in self._left if self._may_begin(self._runs[number])), None)
        if number is None:
            return None
        self._left.remove(number)
        run = self._runs[number]
        self._started[number] = time.time()
        self._progress.started(run)
        return Task(
            loss=run.arm.loss,
            number=number,
            settings=run.settings,
            place=self._study.files.place(run.folder),
            rungs=(),
            passed=(),
            attempt=self._attempt,
        )

    def trained(self, report: Report, epochs: int) -> None:
        self._progress.notes(report.notes)
        self._progress.trained(self._runs[report.number], epochs)

    def postpone(self, task: Task) -> None:
        name = self._runs[task.number].name
        self._progress.notes((f"{name}: no room on its GPU; it goes on alone when the others have ended",))

    def resume(self, task: Task) -> Task:
        self._started[task.number] = time.time()
        return task

    def ended(self, task: Task, report: Report | None) -> None:
        run = self._runs[task.number]
        if report is not None and report.end is None:  # merely stopped: it goes on at the next confirmation
            return
        if lost := self._study.store.lost:  # it is another launch's to say how the run ended
            raise LeaseLostError(lost)
        self._study.files.update_run(run.folder)
        result = _result(run, report, self._started[task.number])
        run.finish(result)
        self._progress.ended(run, result)
        self._look(run, result)

    def _may_begin(self, run: ConfirmRun) -> bool:
        return run.arm.name not in self._decided.stops and run.seed < self._decided.open

    def _look(self, run: ConfirmRun, result: RunResult) -> None:
        self._known[run.arm.name][run.seed] = result.best
        before, self._decided = self._decided, looked(self._plan, self._known)
        for name, stop in self._decided.stops.items():
            if name not in before.stops:
                self._progress.stopped(stop)


def _result(run: ConfirmRun, report: Report | None, started: float) -> RunResult:
    """How a run ended, with the time that its epochs took; None: its worker died once too often."""
    records = read_history(run.folder / HISTORY_FILE)
    return RunResult(
        end=_end(report),
        reason="its worker died" if report is None else report.error,
        epochs=len(records),
        best=report.best if report is not None and report.best_epoch > 0 else None,
        best_epoch=report.best_epoch if report is not None else 0,
        seconds=sum(record["seconds"] for record in records),
        started=records[0]["time"] - records[0]["seconds"] if records else started,
        finished=records[-1]["time"] if records else time.time(),
    )


def _end(report: Report | None) -> RunEnd:
    match report:
        case Report(end="epochs" | "patience" | "diverged" as end):
            return end
        case _:
            return "failed"
