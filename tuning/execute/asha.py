"""Ray's schedulers: asynchronous successive halving with rungs for each loss, and one that cuts no trial."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import TrialScheduler

from losstune.tuning.execute.ray_private import forget_ended
from losstune.tuning.search.rungs import Rungs
from losstune.tuning.study.messages import Report

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class NoCuts(TrialScheduler):
    """Lets every trial go on until it ends by itself; Tune then forgets it."""

    def on_trial_add(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """Nothing to prepare."""

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Go on."""
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """The searcher tells how it ended."""

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A failed trial keeps the values it reported."""

    def on_trial_remove(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """A trial that never ran has no values."""

    def choose_trial_to_run(self, tune_controller: "TuneController") -> "Trial | None":
        """No wish of its own: Ray starts waiting trials in their order. Tune asks at each of its steps."""
        forget_ended(tune_controller)
        return None

    def debug_string(self) -> str:
        """For Ray's own reports, which are silent here."""
        return type(self).__name__


class AshaScheduler(NoCuts):
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

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Cut or go on, at a rung; go on anywhere else.

        Where a rung can not be recorded its trial waits: one that trained on would save a state that is past a
        decision which the next launch knows nothing of.
        """
        report = Report.from_result(result)
        rungs = self._rungs[report.loss]
        if report.epoch not in rungs.epochs or report.epoch in report.passed:
            return str(TrialScheduler.CONTINUE)
        if not rungs.goes_on(report.number, report.epoch, report.best):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE if self._record(report) else TrialScheduler.NOOP)

    def on_trial_complete(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> None:
        """A trial that ended by itself: patience carries its best to the later rungs."""
        report = Report.from_result(result)
        if report.end == "patience":
            self._rungs[report.loss].carry(report.number, report.epoch, report.best)
