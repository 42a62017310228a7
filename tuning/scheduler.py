"""Asynchronous successive halving (Li et al., MLSys 2020), stopping type, with rungs for each loss."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import TrialScheduler

from tuning.report import Report
from tuning.trial import TrialView

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class Rungs:
    """The values that a loss's trials had at each rung, and the rule that cuts."""

    def __init__(self, epochs: tuple[int, ...], reduction_factor: int) -> None:
        """Start empty.

        Args:
            epochs: the rungs, ascending.
            reduction_factor: η; of n values at a rung, the best ⌊n/η⌋ go on, and always the best one.
        """
        self.epochs = epochs
        self._eta = reduction_factor
        self._values: dict[int, dict[int, float]] = {epoch: {} for epoch in epochs}

    def rebuild(self, trials: list[TrialView]) -> None:
        """Take in the values that the truth knows."""
        for trial in trials:
            for epoch, value in trial.rungs.items():
                if epoch in self._values and not math.isnan(value):
                    self._values[epoch][trial.number] = value
            ending = trial.ending
            if ending is not None and ending.state == "complete" and ending.best is not None:
                self.carry(trial.number, ending.epochs, ending.best)

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        """Enter a trial's best value so far at a rung; whether the trial goes on. Entering twice changes nothing.

        A trial goes on if fewer than max(1, ⌊n/η⌋) others of the n values there are better; of equal values,
        the lower trial number is the better one.
        """
        values = self._values[epoch]
        values.setdefault(number, value)
        mine = (-values[number], number)
        better = sum((-other, trial) < mine for trial, other in values.items())
        return better < max(1, len(values) // self._eta)

    def carry(self, number: int, epoch: int, value: float) -> None:
        """A trial that ended by itself keeps its best value at the rungs where nothing was decided on it."""
        for rung in self.epochs:
            if rung >= epoch:
                self._values[rung].setdefault(number, value)


class AshaScheduler(TrialScheduler):
    """Puts :class:`Rungs` behind Ray's scheduler interface."""

    def __init__(self, rungs: dict[str, Rungs], record: Callable[[Report], bool]) -> None:
        """Take what decides, and where it is told.

        Args:
            rungs: those of each loss, rebuilt from the truth.
            record: records that a trial goes on from a rung; false if that can not be saved.
        """
        super().__init__()
        self._rungs = rungs
        self._record = record

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Nothing to prepare."""

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Cut or go on, at a rung; go on anywhere else.

        Where a rung can not be recorded its trial waits: one that trained on would save a state that is past a
        decision which the next launch knows nothing of.
        """
        report = Report.from_result(result)
        rungs = self._rungs[report.loss_fn]
        if report.epoch not in rungs.epochs or report.epoch in report.passed:
            return str(TrialScheduler.CONTINUE)
        if not rungs.goes_on(report.number, report.epoch, report.best):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE if self._record(report) else TrialScheduler.NOOP)

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """A trial that ended by itself: patience carries its best to the later rungs."""
        report = Report.from_result(result)
        if report.end == "patience":
            self._rungs[report.loss_fn].carry(report.number, report.epoch, report.best)

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A failed trial keeps the values it reported."""

    def on_trial_remove(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A trial that never ran has no values."""

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """No wish of its own: Ray starts waiting trials in their order."""
        return None

    def debug_string(self) -> str:
        """For Ray's own reports, which are silent here."""
        return "ASHA"
