"""A launch without Ray: workers whose training is a formula, and results passed on in the order of Ray Tune."""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from rich.console import Console

from losstune.trainer.run.history import history_line, read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.execute.asha import AshaScheduler
from losstune.tuning.execute.search_tasks import SearchTasks
from losstune.tuning.execute.task_searcher import TaskSearcher
from losstune.tuning.search.rungs import Rungs
from losstune.tuning.show.progress import Progress
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.run_places import FolderPlace
from losstune.tuning.storage.study_files import FolderFiles
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.messages import Report, Task

Fate = Callable[[Task], tuple[int, str]]
"""The epoch at which a trial ends by itself, and why: epochs, patience, diverged or error."""


def uses_its_epochs(task: Task) -> tuple[int, str]:
    return task.settings["num_epochs"], "epochs"


def value_at(settings: Mapping[str, Any], epoch: int) -> float:
    """Better the nearer lr is to 1e-2, and with every epoch; dropout makes a slow start and a good end."""
    slope = 0.001 + settings.get("model.dropout", 0.0) / 2
    return 1 - abs(math.log10(settings["lr"]) + 2) / 2 + slope * (epoch - 2)


def write_history(folder: Path, *values: float | None) -> None:
    """A history with these objective values; None where the epoch diverged."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"epoch": e} | ({} if v is None else {"val/mrr": v}) for e, v in enumerate(values, start=1)]
    (folder / HISTORY_FILE).write_text("".join(map(history_line, records)))


def folder_of(task: Task) -> Path:
    """Where a trial is kept, in a study that is in a folder."""
    assert isinstance(task.place, FolderPlace)
    return task.place.path


class Worker:
    """Trains one trial. What it has saved is in the trial's history file, and stays there when it dies."""

    def __init__(self, task: Task, fate: Fate) -> None:
        self.task = task
        self.folder = folder_of(task)
        self._end_epoch, self._end = fate(task)
        self._raised = False
        epoch = len(self._history())
        self._untold = epoch == self._end_epoch or (epoch in task.rungs and epoch > max(task.passed, default=0))

    def train(self) -> None:
        """To the next rung or the end; nothing if the last stretch was saved but not told."""
        if not self._untold:
            epoch = min([rung for rung in self.task.rungs if rung > len(self._history())] + [self._end_epoch])
            self._raised = self._end == "error" and epoch == self._end_epoch
            self._save(epoch - self._raised)
        self._untold = False

    def report(self) -> Report:
        """What the worker tells after :meth:`train`."""
        values = self._history()
        best = max((value for value in values if value is not None), default=-math.inf)
        best_epoch = values.index(best) + 1 if best > -math.inf else 0
        end = self._end if len(values) == self._end_epoch else None
        if self._raised:
            return self._report(0, -math.inf, 0, "error", "ValueError: this setting can not be trained")
        return self._report(len(values), best, best_epoch, end, "")

    def _report(self, epoch: int, best: float, best_epoch: int, end: Any, error: str) -> Report:
        return Report(self.task.loss, self.task.number, epoch, best, best_epoch, end, error, self.task.passed, 0.0)

    def _save(self, epochs: int) -> None:
        values = [value_at(self.task.settings, epoch) for epoch in range(1, epochs + 1)]
        lost = self._end == "diverged" and epochs == self._end_epoch
        write_history(self.folder, *(values[:-1] if lost else values), *([None] if lost else []))

    def _history(self) -> list[float | None]:
        return [record.get("val/mrr") for record in read_history(self.folder / HISTORY_FILE)]


class Launch:
    """One launch of a study: searcher, scheduler and workers on a storage and a folder that outlive it."""

    def __init__(
        self,
        storage: BaseStorage,
        spaces: list[SearchSpace],
        settings: StudySettings,
        folder: Path,
        concurrency: int = 1,
        fate: Fate = uses_its_epochs,
    ) -> None:
        self.trials = {space.name: LossTrials(storage, space.name, space) for space in spaces}
        for own in self.trials.values():
            own.settle()
        rungs = {loss: Rungs(settings.rungs, settings.reduction_factor) for loss in self.trials}
        for loss, own in self.trials.items():
            rungs[loss].rebuild(list(own))
        managed = {"num_epochs": settings.max_epochs, "schedule_epochs": settings.max_epochs, "threads": 1}
        self._out = io.StringIO()
        progress = Progress("study", settings, Console(file=self._out))
        self.search = SearchTasks(self.trials, settings, {}, managed, FolderFiles(folder), progress, 1, "optuna.db")
        self.searcher = TaskSearcher(self.search, lambda: concurrency)
        self.scheduler = AshaScheduler(rungs, self.searcher.guarded(self.search.record_rung))
        self.workers: dict[str, Worker] = {}
        self.tasks: list[Task] = []
        self._fate = fate

    @property
    def said(self) -> str:
        """What the terminal shows."""
        return self._out.getvalue()

    def start(self) -> Any:
        """Ask for one trial; its task, or what the searcher answered instead."""
        trial_id = f"id{len(self.tasks)}"
        answer = self.searcher.suggest(trial_id)
        if not isinstance(answer, dict):
            return answer
        self.tasks.append(answer["task"])
        self.workers[trial_id] = Worker(answer["task"], self._fate)
        return answer["task"]

    def tell(self, trial_id: str, report: Report) -> None:
        """Pass a result on as Ray Tune does: a done one to the two on_trial_complete only."""
        result = report.to_result()
        nothing: Any = None
        if not result["done"] and self.scheduler.on_trial_result(nothing, nothing, result) != "STOP":
            self.searcher.on_trial_result(trial_id, result)
            return
        self.scheduler.on_trial_complete(nothing, nothing, result)
        self.searcher.on_trial_complete(trial_id, result)
        del self.workers[trial_id]

    def lose(self, trial_id: str) -> None:
        """The trial's worker died once too often."""
        del self.workers[trial_id]
        self.searcher.on_trial_complete(trial_id, error=True)

    def events(self) -> Iterator[None]:
        """Run to the end; stops after each training and each telling, where a crash may come."""
        while True:
            while isinstance(self.start(), Task):
                pass
            if not self.workers:
                return
            trial_id, worker = next(iter(self.workers.items()))
            del self.workers[trial_id]
            self.workers[trial_id] = worker  # the others come before its next turn
            worker.train()
            yield
            self.tell(trial_id, worker.report())
            yield

    def run(self) -> "Launch":
        """Run to the end undisturbed."""
        for _ in self.events():
            pass
        return self
