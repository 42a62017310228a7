"""Asynchronous successive halving (Li et al., MLSys 2020), stopping type: the rungs of one loss."""

import math

from losstune.tuning.study.trial import TrialView


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
