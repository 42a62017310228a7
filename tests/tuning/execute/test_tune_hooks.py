"""What Tune is given in place of its own."""

import copy
import threading
from types import SimpleNamespace
from typing import Any

import ray
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.utils.callback import _create_default_callbacks

from losstune.tuning.execute.tune_hooks import Silent, StopWhen


def test_an_experiment_ends_when_it_is_over_and_each_result_is_told() -> None:
    over, told = [False], []
    stops = StopWhen(lambda: over[0], lambda: told.append("a result"))
    assert (stops.stop_all(), told) == (False, [])
    assert not stops("id0", {"done": True})
    assert told == ["a result"]
    over[0] = True
    assert stops.stop_all()


def test_tune_can_pickle_what_ends_an_experiment_though_a_launch_can_not_be_pickled() -> None:
    lock = threading.Lock()
    stops = StopWhen(lock.locked, lambda: None)
    assert len(ray.cloudpickle.dumps(stops)) < 10_000
    assert not stops.stop_all()


def test_tunes_own_display_is_replaced_by_one_that_keeps_no_trial() -> None:
    display = Silent()
    empty = {name: copy.copy(kept) for name, kept in vars(display).items()}
    trial: Any = SimpleNamespace(last_result={"done": True})
    display.on_trial_result(1, [trial], trial, {"done": True})
    display.on_trial_error(1, [trial], trial)
    display.on_trial_complete(1, [trial], trial)
    assert vars(display) == empty
    created = _create_default_callbacks([display], air_verbosity=None)
    assert [each for each in created if isinstance(each, TrialProgressCallback)] == [display]
