"""What Tune is given in place of its own: an end from outside, and a display that keeps nothing.

It loads Ray, so whoever needs it imports it late.
"""

from collections.abc import Callable
from typing import Any

from ray.tune import Stopper
from ray.tune.progress_reporter import TrialProgressCallback


class StopWhen(Stopper):
    """Ends an experiment from outside: Tune asks at each result, and between two."""

    def __init__(self, over: Callable[[], bool], on_result: Callable[[], None]) -> None:
        self._over, self._on_result = over, on_result

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its stopper with its own state, which is not used: the launch, to which these belong, can not
        # be pickled.
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._on_result()
        return False

    def stop_all(self) -> bool:
        return self._over()


class Silent(TrialProgressCallback):
    """In place of Tune's own display: even one that prints nothing keeps every trial, with its last results."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        pass

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        pass
