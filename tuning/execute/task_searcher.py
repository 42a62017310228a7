"""Ray's Searcher: hands out the tasks of a search or of a confirmation, and tells how each of them goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ray.tune.search import Searcher

from losstune.tuning.storage.bucket import BucketError
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.passwords import masked
from losstune.tuning.study.messages import Report, Task

FINISHED = str(Searcher.FINISHED)


class TaskSource(Protocol):
    """What there is to train, and where its course is written down. Knows nothing of Ray.

    A method that can not write raises one of ``STORAGE_FAILURES``. Nothing is asked for any more then, and what was
    not told is told at the next launch.
    """

    @property
    def storage_name(self) -> str:
        """Where it writes, for messages."""

    def next_task(self) -> Task | None:
        """The next task, which runs from now on; None where no more can be started now."""

    def trained(self, report: Report, epochs: int) -> None:
        """A task has reported; so many of its epochs are new."""

    def postpone(self, task: Task) -> None:
        """A task found no room on its GPU beside others."""

    def resume(self, task: Task) -> Task:
        """A postponed task goes on, with nothing beside it; returns it as it is now."""

    def ended(self, task: Task, report: Report | None) -> None:
        """A task ended: by itself, cut, or with its worker, which then reports nothing."""


@dataclass
class _Running:
    """A task that Ray works on, whether no other may run beside it, and the epochs of it that are told."""

    task: Task
    alone: bool
    epoch: int


class TaskSearcher(Searcher):
    """Hands out tasks while there is a slot for one.

    A task that found no room on a shared GPU goes on from its checkpoint when all others have ended, with nothing
    beside it; if there is no room then, it fails.

    Attributes:
        storage_error: why nothing can be written, empty while it can; nothing is handed out any more.
    """

    def __init__(self, source: TaskSource, concurrency: Callable[[], int]) -> None:
        """Start with nothing handed out.

        Args:
            concurrency: tasks at a time, as many as there is room for now.
        """
        super().__init__()
        self.storage_error = ""
        self._source = source
        self._concurrency = concurrency
        self._running: dict[str, _Running] = {}
        self._to_run_alone: list[Task] = []

    def suggest(self, trial_id: str) -> Any:
        """The next task; None while there may be one later; FINISHED when all have ended."""
        if self.storage_error:
            # At None Tune would ask again, and with nothing running it asks for ten minutes without looking whether
            # the experiment is to stop.
            return FINISHED
        if len(self._running) >= self._concurrency() or any(running.alone for running in self._running.values()):
            return None
        with self._storing():
            if (task := self._source.next_task()) is not None:
                return self._start(trial_id, task, alone=False)
            if self._to_run_alone and not self._running:
                return self._start(trial_id, self._source.resume(self._to_run_alone.pop(0)), alone=True)
        # After FINISHED Tune never asks again, so it has to wait while a task runs: that one may yet find no room, and
        # then comes again.
        return None if self._running and not self.storage_error else FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A task goes on."""
        self._count(self._running[trial_id], Report.from_result(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A task ended: by itself, cut, or with its worker."""
        running = self._running.pop(trial_id)
        report = Report.from_result(result) if result is not None and not error else None
        if report is not None and report.end == "storage":  # no fault of the task's: it waits for the next launch
            self.storage_error = report.error
            return
        if report is not None and report.end == "memory" and not running.alone:
            self._to_run_alone.append(running.task)
            with self._storing():
                self._source.postpone(running.task)
            return
        if report is not None:
            self._count(running, report)
        with self._storing():
            self._source.ended(running.task, report)

    def guarded(self, record: Callable[[Report], None]) -> Callable[[Report], bool]:
        """``record`` as one of the calls by which the source writes: whether all could be written so far."""

        def guarded_record(report: Report) -> bool:
            with self._storing():
                record(report)
            return not self.storage_error

        return guarded_record

    def save(self, checkpoint_path: str) -> None:
        """Ray's copy of the search is not used: what the source has written is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """See :meth:`save`."""

    def get_state(self) -> dict[str, Any]:
        """See :meth:`save`."""
        return {}

    def _start(self, trial_id: str, task: Task, *, alone: bool) -> dict[str, Task]:
        self._running[trial_id] = _Running(task, alone, epoch=max(task.passed, default=0))
        return {"task": task}

    def _count(self, running: _Running, report: Report) -> None:
        """Tell a report, each epoch once: a worker that was started again reports some of them again."""
        new = max(0, report.epoch - running.epoch)
        running.epoch += new
        self._source.trained(report, new)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except BucketError as error:
            self.storage_error = str(error)
        except STORAGE_FAILURES as error:
            self.storage_error = f"{self._source.storage_name}: can not be written: {masked(storage_reason(error))}"
