"""The runs of a confirmation as tasks: their order, their results, and what keeps them from having one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from losstune.trainer.run.history import history_line
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.confirm_runs import ConfirmRun, runs_of
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.execute.confirm_tasks import ConfirmTasks
from losstune.tuning.show.confirm_progress import ConfirmProgress
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.lease import LeaseLostError
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.study import Study, create_study
from tests.tuning.samples import settings_of, space_of

ARM = Arm(name="mse-0003", loss_fn="mse", role="candidate", settings={"loss_fn": "mse", "lr": 0.01}, search_value=0.5)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    space = space_of("loss_fn: mse\nspace: {lr: {low: 1e-3, high: 1e-2}}")
    return create_study(Home(tmp_path), "study", [space], settings_of(trials=4), "digits", "0" * 64)


def tasks_of(study: Study, seeds: int = 3) -> tuple[ConfirmTasks, list[ConfirmRun], io.StringIO]:
    runs, said = [ConfirmRun(study, ARM, seed) for seed in range(seeds)], io.StringIO()
    progress = ConfirmProgress("study", "val/mrr", 9, runs, Console(file=said, width=200))
    plan = Plan(number=1, created="", top=1, seeds=seeds, split_given=False, arms=[ARM], starts={}, versions={})
    return ConfirmTasks(study, plan, runs, progress, attempt=2), runs, said


def first(tasks: ConfirmTasks) -> Task:
    task = tasks.next_task()
    assert task is not None
    return task


def report_of(task: Task, end: str | None, error: str = "", *notes: str) -> Report:
    best_epoch = 0 if end in ("error", "memory") else 2
    return Report("mse", task.number, 3, 0.75, best_epoch, end, error, (), 0.0, notes)  # type: ignore[arg-type]


def trained(run: ConfirmRun) -> None:
    """Three epochs of two seconds each, the first of which began at 100."""
    run.folder.mkdir(parents=True, exist_ok=True)
    records = [{"epoch": epoch, "val/mrr": 0.5, "seconds": 2.0, "time": 100.0 + 2 * epoch} for epoch in (1, 2, 3)]
    (run.folder / HISTORY_FILE).write_text("".join(map(history_line, records)))


def test_runs_are_given_out_in_their_order_whole_and_without_rungs(study: Study) -> None:
    tasks, runs, _ = tasks_of(study)
    given = [tasks.next_task() for _ in range(4)]
    assert [task and task.settings for task in given] == [*(run.settings for run in runs), None]
    for task, run in zip(given[:3], runs, strict=True):
        assert task is not None
        assert (task.loss, task.rungs, task.passed, task.attempt) == ("mse", (), (), 2)
        assert task.place == study.files.place(run.folder)


@pytest.mark.parametrize("end", ["epochs", "patience", "diverged"])
def test_a_run_that_ended_has_its_result_from_report_and_history(end: str, study: Study) -> None:
    tasks, runs, _ = tasks_of(study)
    trained(runs[0])
    task = first(tasks)
    tasks.ended(task, report_of(task, end))
    result = runs[0].result()
    assert result is not None
    assert (result.end, result.reason, result.epochs, result.best, result.best_epoch) == (end, "", 3, 0.75, 2)
    assert (result.seconds, result.started, result.finished) == (6.0, 100.0, 106.0)


def test_a_run_that_failed_says_why_and_has_no_best(study: Study) -> None:
    tasks, runs, _ = tasks_of(study)
    task, other = first(tasks), first(tasks)
    tasks.ended(task, report_of(task, "error", "ValueError: no such number"))
    tasks.ended(other, None)
    results = [run.result() for run in runs]
    assert [result and (result.end, result.reason, result.epochs, result.best) for result in results] == [
        ("failed", "ValueError: no such number", 0, None),
        ("failed", "its worker died", 0, None),
        None,
    ]


def test_a_run_that_was_merely_stopped_has_no_result(study: Study) -> None:
    tasks, runs, _ = tasks_of(study)
    task = first(tasks)
    tasks.ended(task, report_of(task, None))
    assert runs[0].result() is None


def test_a_launch_that_lost_the_study_says_nothing_of_a_runs_end(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, runs, _ = tasks_of(study)
    task = first(tasks)
    monkeypatch.setattr(type(study.store), "lost", "another launch has taken study 'study' over")
    with pytest.raises(LeaseLostError, match="another launch has taken study 'study' over"):
        tasks.ended(task, report_of(task, "epochs"))
    assert runs[0].result() is None


def test_a_run_without_room_comes_again_as_it_was_and_that_is_said(study: Study) -> None:
    tasks, _, said = tasks_of(study)
    task = first(tasks)
    tasks.postpone(task)
    assert tasks.resume(task) == task
    assert "mse-0003/seed-00: no room on its GPU; it goes on alone when the others have ended" in said.getvalue()


def test_what_a_worker_notes_is_said_once(study: Study) -> None:
    tasks, _, said = tasks_of(study)
    task = first(tasks)
    for _ in range(2):
        tasks.trained(report_of(task, None, "", "last.pt: damaged; trained again from its first epoch"), 1)
    assert said.getvalue().count("trained again from its first epoch") == 1


# Looks at what there is

GOOD, BAD = (ARM.model_copy(update={"name": name, "settings": {"loss_fn": "mse"}}) for name in ("mse-0001", "mse-0002"))


def early(study: Study, seeds: int = 6) -> tuple[ConfirmTasks, list[ConfirmRun], io.StringIO]:
    """What is left of a confirmation of two settings that looks after four seeds."""
    said, arms = io.StringIO(), [GOOD, BAD]
    plan = Plan(
        number=1, created="", top=2, seeds=seeds, split_given=False, arms=arms, starts={}, versions={}, early=True
    )
    left = [run for run in runs_of(study, plan, again=True) if run.is_to_be_trained]
    progress = ConfirmProgress("study", "val/mrr", 9, runs_of(study, plan), Console(file=said, width=200))
    return ConfirmTasks(study, plan, left, progress, attempt=2), left, said


def end(tasks: ConfirmTasks, task: Task, run: ConfirmRun) -> None:
    best = (0.9 if run.arm == GOOD else 0.3) + 0.01 * (run.seed % 2)
    trained(run)
    tasks.ended(task, Report("mse", task.number, 3, best, 2, "epochs", "", (), 0.0, ()))


def test_runs_after_a_look_wait_for_all_before_it_and_what_has_lost_gets_none(study: Study) -> None:
    tasks, runs, said = early(study)
    given = [first(tasks) for _ in range(8)]
    assert tasks.next_task() is None
    for task in reversed(given[1:]):
        end(tasks, task, runs[task.number])
        assert tasks.next_task() is None
    end(tasks, given[0], runs[0])
    assert "mse-0002 gets no more than 4 seeds: it has clearly lost to mse-0001 in validation" in said.getvalue()
    assert [runs[first(tasks).number].name for _ in range(2)] == ["mse-0001/seed-04", "mse-0001/seed-05"]
    assert tasks.next_task() is None


def test_a_confirmation_that_goes_on_decides_as_one_that_was_not_stopped(study: Study) -> None:
    tasks, runs, _ = early(study)
    for _ in range(5):
        task = first(tasks)
        end(tasks, task, runs[task.number])
    again, left, _ = early(study)
    assert [run.name for run in left[:3]] == ["mse-0002/seed-02", "mse-0001/seed-03", "mse-0002/seed-03"]
    for _ in range(3):
        task = first(again)
        end(again, task, left[task.number])
    task = first(again)
    assert left[task.number].name == "mse-0001/seed-04"
    end(again, task, left[task.number])
    last, left, _ = early(study)
    assert [run.name for run in left] == ["mse-0001/seed-05"]
    assert left[first(last).number] == left[0]
    assert last.next_task() is None


def test_what_failed_comes_again_and_the_look_waits_for_how_it_ends(study: Study) -> None:
    """While it had failed, its setting was no measure of the other, which went on."""
    tasks, runs, _ = early(study)
    given = [first(tasks) for _ in range(8)]
    failing = next(task for task in given if runs[task.number].name == "mse-0001/seed-01")
    tasks.ended(failing, None)
    for task in given:
        if task is not failing:
            end(tasks, task, runs[task.number])
    goes_on = first(tasks)
    assert runs[goes_on.number].name == "mse-0001/seed-04"
    again, left, said = early(study)
    task = first(again)
    assert left[task.number].name == "mse-0001/seed-01"
    assert again.next_task() is None
    end(again, task, left[task.number])
    assert "mse-0002 gets no more than 4 seeds" in said.getvalue()
    assert [left[first(again).number].name for _ in range(2)] == ["mse-0001/seed-04", "mse-0001/seed-05"]
    assert again.next_task() is None


def test_what_fails_again_is_no_measure_of_others_again(study: Study) -> None:
    tasks, runs, _ = early(study)
    given = [first(tasks) for _ in range(8)]
    for task in given:
        if runs[task.number].name == "mse-0001/seed-01":
            tasks.ended(task, None)
        else:
            end(tasks, task, runs[task.number])
    again, left, _ = early(study)
    again.ended(first(again), None)
    later = {f"{arm.name}/seed-0{seed}" for arm in (GOOD, BAD) for seed in (4, 5)}
    assert {left[first(again).number].name for _ in range(4)} == later
