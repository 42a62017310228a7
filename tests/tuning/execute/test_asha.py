"""A loss's trials under the scheduler, as Ray would run them, and the same decisions after a restart."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.tuning.execute import asha
from losstune.tuning.execute.asha import AshaScheduler, NoCuts
from losstune.tuning.search.rungs import Rungs
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.messages import Report
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import cut, diverged, failed, new_trials, space_of, used_up

CONTINUE, STOP = "CONTINUE", "STOP"
values = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) | st.floats(-1, 1)


RUNGS = (2, 6, 18)
LAST = 20


@dataclass
class Driver:
    """Passes results to the scheduler and then to the truth, as Ray and the searcher do."""

    trials: LossTrials
    scheduler: AshaScheduler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget everything but the truth."""
        rungs = Rungs(RUNGS, 3)
        rungs.rebuild(list(self.trials))
        self.scheduler = AshaScheduler({self.trials.loss: rungs}, self._record)

    def result(self, number: int, epoch: int, best: float) -> str:
        report = self._report(number, epoch, best, None)
        decision = self.scheduler.on_trial_result(None, None, report.to_result())  # type: ignore[arg-type]
        if decision == STOP:
            self.trials.end(number, cut(best, epoch))
        return decision

    def _record(self, report: Report) -> bool:
        self.trials.report(report.number, report.epoch, report.best)
        return True

    def end(self, number: int, epoch: int, best: float, kind: str) -> None:
        result = self._report(number, epoch, best, kind).to_result()
        self.scheduler.on_trial_complete(None, None, result)  # type: ignore[arg-type]
        self.trials.end(number, self._ending(epoch, best, kind))

    def _ending(self, epoch: int, best: float, kind: str) -> Ending:
        match kind:
            case "diverged":
                return diverged(epoch, best)
            case "error":
                return failed(epoch)
        return used_up(best, epoch, best_epoch=1)

    def _report(self, number: int, epoch: int, best: float, kind: str | None) -> Report:
        passed = tuple(rung for rung in self.trials[number].rungs if rung in RUNGS)
        return Report("mse", number, epoch, best, 1, kind, "", passed, 0.0)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Script:
    """What a trial would do: its best after each stretch to the next rung, and where it ends by itself."""

    bests: tuple[float, ...]
    end_epoch: int
    kind: str

    def stops(self) -> Iterable[tuple[int, float]]:
        reached = (*(rung for rung in RUNGS if rung < self.end_epoch), self.end_epoch)
        return zip(reached, self.bests, strict=False)


def increasing(found: list[float]) -> tuple[float, ...]:
    return tuple(sorted(found))


scripts = st.builds(
    Script,
    bests=st.lists(values, min_size=4, max_size=4).map(increasing),
    end_epoch=st.sampled_from([1, 2, 4, 6, 18]),
    kind=st.sampled_from(["patience", "patience", "diverged", "error"]),
) | st.builds(
    Script,
    bests=st.lists(values, min_size=4, max_size=4).map(increasing),
    end_epoch=st.just(LAST),
    kind=st.just("epochs"),
)


def play(driver: Driver, script: list[Script], order: list[int], restarts: set[int]) -> list[tuple[int, int, str]]:
    """Let trials take turns in the given order; every decision at a rung. Restart before some events."""
    waiting = {number: iter(one.stops()) for number, one in enumerate(script)}
    decisions = []
    for turn, number in enumerate(order):
        if turn in restarts:
            driver.restart()
        stop = next(waiting.get(number, iter(())), None)
        if stop is None:
            continue
        epoch, best = stop
        if epoch == script[number].end_epoch:
            driver.end(number, epoch, best, script[number].kind)
            del waiting[number]
            continue
        decision = driver.result(number, epoch, best)
        decisions.append((number, epoch, decision))
        if decision == STOP:
            del waiting[number]
    return decisions


def driver_of(count: int) -> Driver:
    trials = new_trials(space_of("loss_fn: mse"))
    for _ in range(count):
        trials.add({}, seed=0)
    return Driver(trials)


@given(st.lists(scripts, min_size=2, max_size=12), st.data())
def test_a_restart_changes_no_decision(script: list[Script], data: st.DataObject) -> None:
    turns = [number for number in range(len(script)) for _ in range(4)]
    order = data.draw(st.permutations(turns))
    restarts = data.draw(st.sets(st.integers(0, len(turns) - 1), min_size=1, max_size=4))
    undisturbed = play(driver_of(len(script)), script, order, set())
    assert play(driver_of(len(script)), script, order, restarts) == undisturbed


def test_only_rungs_that_the_truth_does_not_know_are_decided() -> None:
    driver = driver_of(3)
    assert driver.result(0, 2, 0.9) == CONTINUE
    assert driver.result(1, 3, 0.0) == CONTINUE
    assert driver.result(1, 2, 0.0) == STOP
    driver.trials.report(2, 2, 0.0)
    assert driver.result(2, 2, 0.0) == CONTINUE


def test_losses_are_not_compared_with_each_other() -> None:
    scheduler = AshaScheduler({"mse": Rungs((1,), 3), "infonce": Rungs((1,), 3)}, lambda report: True)
    for loss_fn, best in [("mse", 0.2), ("infonce", 0.9)]:
        result = Report(loss_fn, 0, 1, best, 1, None, "", (), 0.0).to_result()
        assert scheduler.on_trial_result(None, None, result) == CONTINUE  # type: ignore[arg-type]
    result = Report("mse", 1, 1, 0.1, 1, None, "", (), 0.0).to_result()
    assert scheduler.on_trial_result(None, None, result) == STOP  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "second"), [("patience", STOP), ("diverged", CONTINUE), ("error", CONTINUE)])
def test_only_patience_carries_a_value_on(kind: str, second: str) -> None:
    driver = driver_of(2)
    driver.end(0, 1, 0.9, kind)
    assert driver.result(1, 2, 0.1) == second
    driver.restart()
    assert driver.trials[1].state == ("pruned" if second == STOP else "running")


def test_without_cuts_every_trial_goes_on() -> None:
    trial, result = cast("Any", object()), Report("mse", 0, 2, -1.0, 2, None, "", (), 1.0).to_result()
    assert NoCuts().on_trial_result(trial, trial, result) == CONTINUE


@pytest.mark.parametrize("scheduler", [NoCuts(), AshaScheduler({}, lambda report: True)])
def test_at_each_step_tune_forgets_what_has_ended_and_chooses_itself(
    scheduler: NoCuts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(asha, "forget_ended", asked.append)
    controller = cast("Any", object())
    assert scheduler.choose_trial_to_run(controller) is None
    assert asked == [controller]
