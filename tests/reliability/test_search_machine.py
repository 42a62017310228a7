"""Searcher, scheduler and storage against a plain model, through every crash, stop and replay between them."""

import functools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from optuna.storages import RDBStorage
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import StopRequest
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.history import history_line, read_whole_lines
from losstune.trainer.run.layout import CONFIG_FILE, HISTORY_FILE
from losstune.trainer.run.run_dir import RunDirectory
from losstune.tuning.commands.launch import LaunchRequest, launch
from losstune.tuning.execute.placement import Resources, Slots
from losstune.tuning.execute.session import Execution, Session
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.storage.failures import STORAGE_FAILURES
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.sqlite_store import STORAGE_FILE
from losstune.tuning.study import lost_trials
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import TrialView
from tests.conftest import without_tracker
from tests.reliability.model import End, Model, Name, Trial
from tests.reliability.tallies import Recorder
from tests.trainer.samples import sample_arrays
from tests.tuning.samples import PowerCutError, facts, settings_of, space_of
from tests.tuning.simulation import Launch, folder_of

FAULT = "crash, stop or replay between searcher, scheduler and storage"
EXAMPLES = 14
PATIENCE = 2
"""Failed trials after which a loss is given up; ten would be more than a story has."""
EPOCHS = 9
POINTS = {"mse": 3}
"""The space of one loss is soon used up."""
SPACES = {
    "infonce": "{temperature: {low: 0.01, high: 1.0, log: true}, lr: {low: 1e-4, high: 1.0, log: true}}",
    "mse": "{lr: {choices: [1e-3, 1e-2, 1e-1]}}",
    "cosine": "{lr: {low: 1e-4, high: 1.0, log: true}, model.dropout: {low: 0.0, high: 0.5}}",
}
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""No test here is of fsync, and the disk is slow."""
QUIET = Console(quiet=True)


def space_for(loss: str) -> SearchSpace:
    return space_of(f"loss_fn: {loss}\nspace: {SPACES[loss]}")


class Power:
    """Lets some transactions through; then the process is dead, or the disk full, until the next launch."""

    def __init__(self) -> None:
        self.failing = False
        self._left: int | None = None
        self._full = False
        self._watched = False

    @property
    def armed(self) -> bool:
        return self._left is not None

    def fail_after(self, writes: int, *, full: bool) -> None:
        self._left, self._full = writes, full

    def restore(self) -> None:
        self._left, self.failing = None, False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Only what the product writes counts, and not what a test reads."""
        self._watched = True
        try:
            yield
        finally:
            self._watched = False

    @contextmanager
    def plugged_in(self) -> Iterator["Power"]:
        event.listen(Engine, "commit", self._commit)
        try:
            yield self
        finally:
            event.remove(Engine, "commit", self._commit)

    def _commit(self, connection: Connection) -> None:
        if not self._watched or self._left is None:
            return
        if self._left > 0:
            self._left -= 1
            return
        self.failing = True
        if self._full:
            raise DatabaseError("COMMIT", {}, Exception("disk I/O error"))  # an OperationalError is tried again, slowly
        connection.connection.rollback()  # the system closes a dead process's files, which ends its transaction
        raise PowerCutError


def value_at(task: Task, epoch: int) -> float:
    """By the trial's seed; in tenths, so that many are equal."""
    return round(random.Random(f"{task.settings['seed']}/{epoch}").random(), 1)


class Worker:
    """Trains by a formula. Its folder outlives it, with a history, and a checkpoint that may be behind that."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.name: Name = task.loss, task.number
        self.folder = folder_of(task)
        if not (self.folder / CONFIG_FILE).exists():
            RunDirectory(self.folder, task.attempt).start(TrainConfig.from_flat(task.settings))
        self.epoch, self.end = 0, None
        if self._checkpoint.exists():
            self.epoch, self.end = json.loads(self._checkpoint.read_text())
        self._write_history(self.epoch)
        self.untold = self.end is not None or (self.epoch in task.rungs and self.epoch > max(task.passed, default=0))

    @property
    def next_stop(self) -> int:
        return next((rung for rung in self.task.rungs if rung > self.epoch), EPOCHS)

    def train(self, to: int, end: str | None = None) -> None:
        """What is not told yet is told first, as it was."""
        if self.untold:
            self.untold = False
            return
        self.epoch, self.end = to, "epochs" if end is None and to == EPOCHS else end
        self._write_history(to)
        self._checkpoint.write_text(json.dumps([self.epoch, self.end]))

    def write_ahead(self) -> None:
        """An epoch is in the history, and its checkpoint is not written any more."""
        if self.end is None:
            self._write_history(self.epoch + 1)

    def report(self) -> Report:
        values = [value_at(self.task, epoch) for epoch in range(1, self.epoch + 1 - (self.end == "diverged"))]
        best = max(values, default=-math.inf)
        return self._report(self.epoch, best, values.index(best) + 1 if values else 0, self.end)

    def stopped(self, end: str, reason: str) -> Report:
        return replace(self._report(0, -math.inf, 0, end), error=reason)

    def _report(self, epoch: int, best: float, best_epoch: int, end: Any) -> Report:
        return Report(*self.name, epoch, best, best_epoch, end, "", self.task.passed, 0.0)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.json"

    def _write_history(self, epochs: int) -> None:
        lost = self.epoch if self.end == "diverged" else None
        records = [
            {"epoch": epoch} if epoch == lost else {"epoch": epoch, "val/mrr": value_at(self.task, epoch)}
            for epoch in range(1, epochs + 1)
        ]
        (self.folder / HISTORY_FILE).write_text("".join(map(history_line, records)))


def end_of(report: Report) -> End:
    """The end that a report must lead to."""
    best = report.best if report.best_epoch else None
    state, reason = {
        "epochs": ("complete", "used its epochs"),
        "patience": ("complete", f"no new best since epoch {report.best_epoch}"),
        "diverged": ("pruned", "diverged"),
        None: ("pruned", f"cut at rung {report.epoch}"),
    }[report.end]
    return End(state, reason, report.epoch, best)


def end_on_disk(folder: Path, state: str, reason: str) -> End:
    """The end of a trial that can not tell."""
    records, _ = read_whole_lines(folder / HISTORY_FILE)
    return End(state, reason, len(records), max((r["val/mrr"] for r in records if "val/mrr" in r), default=None))


def as_told(trial: TrialView) -> Trial:
    told = trial.ending
    end = None if told is None else End(told.state, told.reason, told.epochs, told.best)
    values = {epoch: None if math.isnan(value) else value for epoch, value in trial.rungs.items()}
    return Trial(trial.point, values, end)


class SearchMachine(RuleBasedStateMachine):
    """A study of many launches. The model is told first what is about to happen, and both must agree after it."""

    faults: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[str, Worker] = {}

    @initialize(
        losses=st.lists(st.sampled_from([*SPACES]), min_size=1, max_size=3, unique=True),
        slots=st.integers(1, 3),
        eta=st.integers(2, 3),
        budget=st.sampled_from([{"trials": 3}, {"trials": 5}, {"epochs_per_loss": 20}, {"epochs_per_loss": 36}]),
        sampler=st.sampled_from(["random", "random", "tpe", "gp"]),
        seed=st.integers(0, 5),
    )
    def create(self, losses: list[str], slots: int, eta: int, budget: dict[str, int], sampler: str, seed: int) -> None:
        self.folder = TemporaryDirectory(dir=MEMORY)
        self.plug = Power().plugged_in()
        self.power = self.plug.__enter__()
        spaces = [space_for(loss) for loss in losses]
        settings = settings_of(
            max_epochs=EPOCHS, grace_epochs=1, reduction_factor=eta, sampler=sampler, seed=seed, **budget
        )
        self.study = create_study(Home(Path(self.folder.name)), "study", spaces, settings, "none", "0" * 64)
        ((unit, amount),) = budget.items()
        self.model = Model(
            losses, settings.rungs, eta, "trials" if unit == "trials" else "epochs", amount, POINTS, PATIENCE, slots
        )
        self.study.storage()
        self.reader = RDBStorage(f"sqlite:///{self.study.folder / STORAGE_FILE}")
        self.launch()

    # What may happen to workers.

    @precondition(lambda self: not self.over)
    @rule()
    def ask(self) -> None:
        self.asked()

    def asked(self) -> Any:
        """What Tune gets when it asks for a trial; it asks until it hears that there are no more."""
        expected, answer = self.model.next(), None
        with self.watching():
            answer = self.run.start()
        if self.launched:
            return None
        if not isinstance(answer, Task):
            assert (answer or "wait").lower() == expected
            self.over = answer == "FINISHED"
            return None
        name = answer.loss, answer.number
        assert name == expected
        point = self.run.trials[answer.loss][answer.number].point
        self.model.started(name, point)
        assert answer.passed == tuple(sorted(self.model.trials[name].values))
        self.workers[f"id{len(self.run.tasks) - 1}"] = Worker(answer)
        return answer

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), how=st.sampled_from(["rung", "rung", "rung", "mid", "patience", "diverged"]))
    def train(self, data: st.DataObject, how: str) -> None:
        trial_id = data.draw(self.working())
        worker = self.workers[trial_id]
        match how:
            case "mid" | "diverged":
                worker.train(worker.epoch + 1, None if how == "mid" else how)
            case "patience":
                worker.train(worker.next_stop, how)
            case _:
                worker.train(worker.next_stop)
        self.tell(trial_id, worker.report())

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def raise_an_error(self, data: st.DataObject) -> None:
        trial_id = data.draw(self.working())
        worker = self.workers[trial_id]
        report = worker.stopped("error", "ValueError: no such number")
        self.end(trial_id, report, end_on_disk(worker.folder, "failed", report.error))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def find_no_room(self, data: st.DataObject) -> None:
        self.faults["no room"] += 1
        trial_id = data.draw(self.working())
        worker = self.workers[trial_id]
        report = worker.stopped("memory", "CUDA out of memory")
        if self.model.alone:
            reason = "no room on its GPU, with nothing of this study beside it: CUDA out of memory"
            self.end(trial_id, report, end_on_disk(worker.folder, "failed", reason))
            return
        del self.workers[trial_id]
        self.model.found_no_room(worker.name)
        with self.watching():
            self.run.tell(trial_id, report)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), ahead=st.booleans())
    def restart_a_worker(self, data: st.DataObject, ahead: bool) -> None:
        """It goes on from its checkpoint, and tells again what it told."""
        self.faults["worker restarted"] += 1
        trial_id = data.draw(self.working())
        if ahead:
            self.workers[trial_id].write_ahead()
        self.workers[trial_id] = Worker(self.workers[trial_id].task)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), ahead=st.booleans())
    def lose_a_worker(self, data: st.DataObject, ahead: bool) -> None:
        """It died once too often."""
        self.faults["worker lost"] += 1
        trial_id = data.draw(self.working())
        worker = self.workers.pop(trial_id)
        if ahead:
            worker.write_ahead()
        with self.watching():
            self.model.ended(worker.name, end_on_disk(worker.folder, "failed", "its worker died"))
            self.run.lose(trial_id)

    # What may happen to a launch.

    @precondition(lambda self: not self.power.armed)
    @rule(writes=st.integers(0, 9), full=st.booleans())
    def let_storage_fail_soon(self, writes: int, full: bool) -> None:
        self.power.fail_after(writes, full=full)

    @precondition(lambda self: self.steps > 5 or not self.workers)  # launch after launch would leave no time for work
    @rule(how=st.sampled_from(["crash", "stop", "time is up"]), slots=st.integers(1, 3), more=st.booleans())
    def end_the_launch(self, how: str, slots: int, more: bool) -> None:
        self.faults[how] += 1
        self.launched = False
        if how != "crash":
            with self.watching():
                self.wind_up(timed_out=how == "time is up")
        if not self.launched:
            wanted = {"running", "paused"} if how == "crash" else {"paused"}
            assert {trial.state for trial in self.views() if trial.ending is None} <= wanted
            self.launch(slots, more=more)

    # What must hold.

    @invariant()
    def what_was_told_is_there(self) -> None:
        views = self.views()
        found = {(trial.loss, trial.number): as_told(trial) for trial in views}
        assert found == self.model.trials
        states = {(trial.loss, trial.number): trial.state for trial in views if trial.ending is None}
        assert states == {name: "running" if name in self.model.running else "paused" for name in states}
        points = [(loss, json.dumps(trial.point, sort_keys=True)) for (loss, _), trial in found.items()]
        assert len(set(points)) == len(points)

    def teardown(self) -> None:
        """The last launch is not disturbed."""
        if not hasattr(self, "study"):
            return
        try:
            self.launch()
            while True:
                while not self.over and self.asked():
                    pass
                if not self.workers:
                    break
                trial_id, worker = next(iter(self.workers.items()))
                worker.train(worker.next_stop)
                self.tell(trial_id, worker.report())
            self.what_was_told_is_there()
            self.check_the_end()
        finally:
            self.plug.__exit__(None, None, None)
            self.folder.cleanup()

    def check_the_end(self) -> None:
        for loss, own in self.study.trials(self.reader).items():
            assert [trial.number for trial in own] == list(range(len(own)))
            assert all(trial.ending and trial.ending.reason for trial in own)
            in_epochs = self.model.unit == "epochs"
            spent = sum(trial.spent for trial in own) if in_epochs else len(own)
            assert spent >= self.model.budget or len(own) == POINTS.get(loss) or self.model.hopeless(loss)
            assert spent < self.model.budget + (3 * EPOCHS if in_epochs else 1)

    # How it is done.

    def working(self) -> st.SearchStrategy[str]:
        return st.sampled_from(sorted(self.workers))

    def tell(self, trial_id: str, report: Report) -> None:
        """Pass a result on; the model decides for itself."""
        name = report.loss, report.number
        if report.end is not None:
            self.end(trial_id, report, end_of(report))
            return
        decided = report.epoch in self.model.rungs and report.epoch not in report.passed
        if decided and not self.model.goes_on(name, report.epoch, report.best):
            self.end(trial_id, report, end_of(report))
            return
        with self.watching():
            self.model.trained(name, report.epoch)
            if decided:
                self.model.told(name, report.epoch, report.best)
            self.run.tell(trial_id, report)
            assert trial_id in self.run.workers, "cut, against the rule"

    def end(self, trial_id: str, report: Report, end: End) -> None:
        del self.workers[trial_id]
        with self.watching():
            self.model.ended((report.loss, report.number), end)
            self.run.tell(trial_id, report)
            assert trial_id not in self.run.workers, "not cut, against the rule"

    def wind_up(self, *, timed_out: bool) -> None:
        """What a launch does with its trials before it ends."""
        if timed_out:
            for name in (*self.model.running, *self.model.no_room):
                folder = self.study.trials_folder / f"{name[0]}-{name[1]:04d}"
                self.model.ended(name, end_on_disk(folder, "pruned", "time budget"))
        with suppress(*STORAGE_FAILURES):
            self.run.search.wind_up(timed_out=timed_out)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Something the product writes; if it dies of that, or can not, there is another launch at once."""
        self.steps += 1
        self.before, self.launched = deepcopy(self.model.trials), False
        try:
            with self.power.watched():
                yield
                if self.run.searcher.storage_error:
                    self.wind_up(timed_out=False)
        except PowerCutError:
            pass
        if self.power.failing:
            self.launch()
        self.before = {}

    def launch(self, slots: int | None = None, *, more: bool = False) -> None:
        """All objects are new; on disk is what is on disk."""
        before, failed = getattr(self, "before", {}), self.power.failing
        self.workers, self.over, self.launched, self.steps = {}, False, True, 0
        self.model.slots = slots or self.model.slots
        if more:
            self.model.budget += EPOCHS if self.model.unit == "epochs" else 1
        while not self.opened():
            self.faults["storage failed"] += 1
            self.power.restore()
        self.faults["storage failed"] += failed
        self.power.restore()
        self.model.after_a_kill(before, self.found())
        self.model.begin()

    def opened(self) -> bool:
        spaces = [space_for(loss) for loss in self.model.losses]
        try:
            with self.power.watched():
                self.run = Launch(self.study.storage(), spaces, self.settings, self.study.folder, self.model.slots)
        except (PowerCutError, UserError, *STORAGE_FAILURES):
            assert self.power.failing
            return False
        return True

    @property
    def settings(self) -> Any:
        budget = {"trials" if self.model.unit == "trials" else "epochs_per_loss": self.model.budget}
        return self.study.spec.settings.model_copy(update=budget)

    def views(self) -> list[TrialView]:
        return [trial for own in self.study.trials(self.reader).values() for trial in own]

    def found(self) -> dict[Name, Trial]:
        return {(trial.loss, trial.number): as_told(trial) for trial in self.views()}


def test_the_search_is_what_its_model_says(record: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_trials, "GIVEN_UP_AFTER", PATIENCE)
    SearchMachine.faults.clear()
    run_state_machine_as_test(
        SearchMachine, settings=hypothesis_settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    )
    faults = SearchMachine.faults
    assert faults.total() > EXAMPLES
    record(1, FAULT, injected=faults.total())


# Whole launches, without Ray, disturbed at any instant.


def fate(task: Task) -> tuple[int, str]:
    """How a trial ends that is not cut, by its seed."""
    fates = [
        (9, "epochs"),
        (9, "epochs"),
        (9, "epochs"),
        (2, "diverged"),
        (4, "diverged"),
        (3, "patience"),
        (5, "error"),
    ]
    seed: int = task.settings["seed"]
    return fates[seed % len(fates)]


class Disturbances:
    """What comes, and after how many transactions or results; then nothing more."""

    def __init__(self, power: Power, planned: list[tuple[str, int]]) -> None:
        self._power = power
        self._planned = planned
        self._results = 0
        self.happened = 0
        self._arm()

    def comes(self) -> str:
        """Called at each result: stop, crash, restart, or nothing."""
        if not self._planned or self._planned[0][0] in ("kill", "full"):
            return ""
        self._results += 1
        return self.over() if self._results > self._planned[0][1] else ""

    def over(self) -> str:
        """The one that was due has happened."""
        what, _ = self._planned.pop(0)
        self._results = 0
        self.happened += 1
        self._power.restore()
        self._arm()
        return what

    def _arm(self) -> None:
        if self._planned and self._planned[0][0] in ("kill", "full"):
            self._power.fail_after(self._planned[0][1], full=self._planned[0][0] == "full")


class NoRay(Session):
    """A launch's session whose one worker trains by a formula."""

    disturbances: Disturbances

    def run(self, searcher: Any, scheduler: Any, over: Callable[[], bool]) -> None:
        nothing: Any = None
        for turn in range(1_000):
            trial_id = f"id{turn}"
            answer = searcher.suggest(trial_id)
            if not isinstance(answer, dict):
                return
            worker = Worker(answer["task"])
            report = self._step(worker)
            while not over():
                match self.disturbances.comes():
                    case "crash":
                        raise PowerCutError
                    case "stop":
                        self.stop.signum = 15
                        return
                    case "restart":
                        worker = Worker(answer["task"])
                result = report.to_result()
                decision = "STOP" if result["done"] else scheduler.on_trial_result(nothing, nothing, result)
                if decision == "STOP":
                    scheduler.on_trial_complete(nothing, nothing, result)
                    searcher.on_trial_complete(trial_id, result)
                    break
                searcher.on_trial_result(trial_id, result)
                if decision == "CONTINUE":
                    report = self._step(worker)  # Tune sends a worker on before it asks whether all is over
            if over():
                return

    def _step(self, worker: Worker) -> Report:
        epoch, end = fate(worker.task)
        to = min(worker.next_stop, epoch)
        if end == "error" and to == epoch and not worker.untold:
            return worker.stopped("error", "ValueError: no such number")
        worker.train(to, end if to == epoch and end != "epochs" else None)
        return worker.report()


Story = list[tuple[Any, ...]]


def play(planned: list[tuple[str, int]], race: bool) -> tuple[Story, int]:
    """A study to its end, launch after launch; all trials, and how many disturbances there were."""
    with TemporaryDirectory(dir=MEMORY) as folder, Power().plugged_in() as power, pytest.MonkeyPatch.context() as patch:
        disturbances = Disturbances(power, planned)

        @contextmanager
        def without_ray(study: Study, pairs: Any, *_: object) -> Iterator[Session]:
            nothing: Any = None
            session = NoRay(StopRequest(), tracker=nothing)
            session.disturbances, session.slots = disturbances, Slots(1, 0.0, lambda: [], wanted=1)
            yield session

        patch.setattr("losstune.tuning.commands.launch.session", without_ray)
        request = request_in(Path(folder), race)
        with without_tracker():
            while (study := launched(request, power, disturbances)) is None:
                pass
        return [facts(trial) for own in study.trials().values() for trial in own], disturbances.happened


def request_in(root: Path, race: bool) -> LaunchRequest:
    arrays = sample_arrays(rows=400)
    np.savez(root / "pairs.npz", inputs=arrays["inputs"], targets=arrays["targets"])
    spaces = []
    for loss in ("cosine", "infonce"):
        spaces.append(str(root / f"{loss}.yaml"))
        Path(spaces[-1]).write_text(f"loss_fn: {loss}\nspace: {SPACES[loss]}\n")
    options = {"max_epochs": EPOCHS, "grace_epochs": 1, "epochs_per_loss": 54, "seed": 3, "race": race}
    return LaunchRequest(spaces, str(root / "pairs.npz"), "study", Home(root), Execution(Resources(1, 1, 0.0)), options)


def launched(request: LaunchRequest, power: Power, disturbances: Disturbances) -> Study | None:
    """One launch; the study if it came to its end."""
    try:
        with power.watched():
            outcome = launch(request, QUIET)
    except PowerCutError:
        if power.failing:
            disturbances.over()
        return None
    except UserError:
        assert power.failing
        disturbances.over()
        return None
    if outcome.stopped and power.failing:  # what could not be written stays as it was for the next launch
        disturbances.over()
        return None
    if outcome.stopped:
        assert not [trial for own in outcome.study.trials().values() for trial in own if trial.state == "running"]
        return None
    return outcome.study


@functools.cache
def undisturbed(race: bool) -> Story:
    return play([], race)[0]


@pytest.mark.parametrize(("race", "examples"), [(False, 4), (True, 2)], ids=["level", "race"])
def test_a_disturbed_study_ends_with_the_leaderboard_of_an_undisturbed_one(
    race: bool, examples: int, record: Recorder
) -> None:
    happened = 0
    kinds = st.sampled_from(["kill", "kill", "full", "crash", "stop", "restart"])

    @hypothesis_settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(kinds, st.integers(0, 30)), min_size=3, max_size=12))
    def disturb(planned: list[tuple[str, int]]) -> None:
        nonlocal happened
        story, count = play([*planned], race)
        happened += count
        assert story == undisturbed(race)

    disturb()
    record(1, FAULT, injected=happened)


def test_the_story_of_the_disturbances_has_every_kind_of_end() -> None:
    reasons = {ending.reason.split(" at ")[0].split(" since ")[0] for *_, ending in undisturbed(False)}
    assert reasons == {"used its epochs", "cut", "no new best", "diverged", "ValueError: no such number"}
    assert len([name for name, *_ in undisturbed(False) if name.startswith("cosine")]) > 12
