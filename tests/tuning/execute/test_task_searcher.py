"""What Ray is answered and a source of tasks is told, with a source that only notes it."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError

from losstune.tuning.execute.task_searcher import FINISHED, TaskSearcher
from losstune.tuning.storage.bucket import BucketError
from losstune.tuning.storage.run_places import FolderPlace
from losstune.tuning.study.messages import Report, Task


def task_of(number: int, *passed: int) -> Task:
    return Task("mse", number, {}, FolderPlace(Path("nowhere")), (1, 3), passed, attempt=1)


def report_of(number: int, epoch: int, end: Any = None, error: str = "") -> Report:
    return Report("mse", number, epoch, 0.5, 1, end, error, (), 0.0)


class Noting:
    """Has so many tasks, and notes what it is told; ``failing`` methods can not write."""

    storage_name = "optuna.db"

    def __init__(self, *tasks: Task) -> None:
        self.left = list(tasks)
        self.told: list[tuple[Any, ...]] = []
        self.failing: dict[str, Exception] = {}

    def next_task(self) -> Task | None:
        self._note("next_task")
        return self.left.pop(0) if self.left else None

    def trained(self, report: Report, epochs: int) -> None:
        self._note("trained", report.number, epochs)

    def postpone(self, task: Task) -> None:
        self._note("postpone", task.number)

    def resume(self, task: Task) -> Task:
        self._note("resume", task.number)
        return task

    def ended(self, task: Task, report: Report | None) -> None:
        self._note("ended", task.number, report and report.end)

    def rung(self, report: Report) -> None:
        self._note("rung", report.number)

    def _note(self, what: str, *about: Any) -> None:
        if what in self.failing:
            raise self.failing[what]
        if what != "next_task":
            self.told.append((what, *about))


def searcher_of(source: Noting, slots: int = 2) -> TaskSearcher:
    return TaskSearcher(source, lambda: slots)


def tell(searcher: TaskSearcher, trial_id: str, report: Report) -> None:
    """As Ray does: what is done goes to ``on_trial_complete`` only."""
    result = report.to_result()
    (searcher.on_trial_complete if result["done"] else searcher.on_trial_result)(trial_id, result)


def test_tasks_are_handed_out_while_there_are_slots_and_the_end_is_said_once_nothing_runs() -> None:
    tasks = [task_of(number) for number in range(3)]
    source = Noting(*tasks)
    searcher = searcher_of(source)
    assert [searcher.suggest(trial) for trial in "abc"] == [{"task": tasks[0]}, {"task": tasks[1]}, None]
    tell(searcher, "a", report_of(0, 9, "epochs"))
    assert searcher.suggest("c") == {"task": tasks[2]}
    tell(searcher, "b", report_of(1, 9, "epochs"))
    assert searcher.suggest("d") is None, "one runs, and may find no room"
    tell(searcher, "c", report_of(2, 9, "epochs"))
    assert searcher.suggest("d") == FINISHED == "FINISHED"


def test_slots_are_counted_anew_each_time() -> None:
    slots = [1]
    searcher = TaskSearcher(Noting(*map(task_of, range(3))), lambda: slots[0])
    assert searcher.suggest("a") is not None
    assert searcher.suggest("b") is None
    slots[0] = 3
    assert searcher.suggest("b") is not None


def test_each_epoch_is_told_once_though_a_worker_tells_it_again() -> None:
    source = Noting(task_of(0, 1, 3))  # an earlier launch knows of three epochs
    searcher = searcher_of(source)
    searcher.suggest("a")
    for epoch in (4, 6, 4, 7):
        tell(searcher, "a", report_of(0, epoch))
    tell(searcher, "a", report_of(0, 9, "epochs"))
    assert source.told == [("trained", 0, new) for new in (1, 2, 0, 1, 2)] + [("ended", 0, "epochs")]


@pytest.mark.parametrize("how", [{"error": True}, {"result": None}])
def test_a_worker_that_died_reports_nothing(how: dict[str, Any]) -> None:
    source = Noting(task_of(0))
    searcher = searcher_of(source)
    searcher.suggest("a")
    searcher.on_trial_complete("a", **how)
    assert source.told == [("ended", 0, None)]


def test_a_task_without_room_goes_on_alone_when_all_others_have_ended() -> None:
    tasks = [task_of(number) for number in range(3)]
    source = Noting(*tasks)
    searcher = searcher_of(source)
    searcher.suggest("a"), searcher.suggest("b")
    tell(searcher, "a", report_of(0, 0, "memory", "CUDA out of memory"))
    assert searcher.suggest("c") == {"task": tasks[2]}
    tell(searcher, "b", report_of(1, 9, "epochs"))
    assert searcher.suggest("d") is None
    tell(searcher, "c", report_of(2, 9, "epochs"))
    assert searcher.suggest("d") == {"task": tasks[0]}
    assert searcher.suggest("e") is None, "nothing beside it"
    tell(searcher, "d", report_of(0, 0, "memory", "CUDA out of memory"))
    assert searcher.suggest("e") == FINISHED
    assert [entry for entry in source.told if entry[1] == 0 and entry[0] != "trained"] == [
        ("postpone", 0), ("resume", 0), ("ended", 0, "memory"),
    ]  # fmt: skip


def full() -> Exception:
    return OSError(errno.ENOSPC, "No space left on device")


def wrapped_by_optuna() -> Exception:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = Exception("database or disk is full")
    return error


@pytest.mark.parametrize("call", ["next_task", "postpone", "resume", "ended", "rung"])
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (full, "optuna.db: can not be written: [Errno 28] No space left on device"),
        (wrapped_by_optuna, "optuna.db: can not be written: database or disk is full"),
        (lambda: BucketError("s3://team/x: AWS Error ACCESS_DENIED"), "s3://team/x: AWS Error ACCESS_DENIED"),
    ],
)
def test_what_can_not_be_written_ends_the_handing_out(call: str, failure: Callable[[], Exception], said: str) -> None:
    source = Noting(task_of(0), task_of(1))
    searcher = searcher_of(source, slots=1)
    if call != "next_task":
        assert searcher.suggest("a") is not None
    source.failing[call] = failure()
    match call:
        case "next_task":
            assert searcher.suggest("a") == FINISHED
        case "postpone" | "resume":
            source.left.clear()
            tell(searcher, "a", report_of(0, 0, "memory"))
            assert searcher.suggest("b") == FINISHED
        case "ended":
            tell(searcher, "a", report_of(0, 9, "epochs"))
        case "rung":
            assert not searcher.guarded(source.rung)(report_of(0, 1))
    assert searcher.storage_error == said
    assert searcher.suggest("c") == FINISHED
    source.failing.clear()
    assert searcher.suggest("c") == FINISHED, "what failed once is the next launch's"


def test_a_fault_of_ours_is_no_failure_of_storage() -> None:
    source = Noting(task_of(0))
    source.failing["next_task"] = KeyError("lr")
    with pytest.raises(KeyError):
        searcher_of(source).suggest("a")


def test_a_worker_that_can_not_save_ends_the_handing_out_and_its_task_waits() -> None:
    source = Noting(task_of(0), task_of(1))
    searcher = searcher_of(source, slots=1)
    searcher.suggest("a")
    tell(searcher, "a", report_of(0, 0, "storage", "studies/x: can not be written"))
    assert searcher.storage_error == "studies/x: can not be written"
    assert searcher.suggest("b") == FINISHED
    assert source.told == []


def test_a_rung_is_recorded_while_that_can_be_written() -> None:
    source = Noting()
    assert searcher_of(source).guarded(source.rung)(report_of(4, 3))
    assert source.told == [("rung", 4)]


def test_rays_copy_of_the_search_is_empty() -> None:
    searcher = searcher_of(Noting(task_of(0)))
    searcher.suggest("a")
    assert searcher.get_state() == {}
