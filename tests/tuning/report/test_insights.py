import math
from collections.abc import Callable

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from losstune.tuning.report.insights import Fate, SearchPoint, fates, importance, learning_curve, search_curve
from losstune.tuning.space.search_space import Point
from losstune.tuning.study.loss_trials import LossTrials, read_trials
from losstune.tuning.study.trial import Ending, TrialView
from tests.tuning.samples import cut, diverged, failed, new_trials, space_of, used_up

MIXED = """
    loss_fn: infonce
    space:
      temperature: {low: 0.01, high: 1.0, log: true}
      batch_size: {choices: [16, 32, 64]}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 5, int: true, when: {schedule: cosine}}
"""


def at_random(generator: np.random.Generator) -> Point:
    point: Point = {
        "temperature": float(10 ** generator.uniform(-2, 0)),
        "batch_size": int(generator.choice([16, 32, 64])),
        "schedule": str(generator.choice(["constant", "cosine"])),
    }
    return point | ({"warmup_epochs": int(generator.integers(1, 6))} if point["schedule"] == "cosine" else {})


def random_search(count: int, judge: Callable[[Point], Ending]) -> list[TrialView]:
    """Trials at random points, as anyone reads them from the storage."""
    storage = InMemoryStorage()
    trials = new_trials(space_of(MIXED), storage)
    generator = np.random.default_rng(0)
    for _ in range(count):
        point = at_random(generator)
        trials.end(trials.add(point, seed=0), judge(point))
    return read_trials(storage, "infonce")


def by_temperature(point: Point) -> Ending:
    return used_up(0.5 - abs(math.log10(point["temperature"]) + 1) / 4)


def by_warmup(point: Point) -> Ending:
    return used_up(0.4 - 0.05 * abs(point["warmup_epochs"] - 2) if "warmup_epochs" in point else 0.1)


def test_a_parameter_that_alone_decides_has_nearly_all_importance() -> None:
    found = importance(space_of(MIXED), random_search(60, by_temperature))
    assert found is not None
    assert next(iter(found.shares)) == "temperature"
    assert found.shares["temperature"] > 0.9
    assert sum(found.shares.values()) == pytest.approx(1)
    assert [name for name in found.shares if found.clear(name)] == ["temperature"]
    assert (found.trials, found.best) == (60, 15)


def test_conditional_parameters_have_importance_too() -> None:
    found = importance(space_of(MIXED), random_search(60, by_warmup))
    assert found is not None
    assert found.shares["warmup_epochs"] + found.shares["schedule"] > 0.8
    assert found.clear("warmup_epochs")


def test_nothing_is_clear_where_values_are_noise() -> None:
    noise = np.random.default_rng(1)
    found = importance(space_of(MIXED), random_search(40, lambda _: used_up(float(noise.uniform()))))
    assert found is not None
    assert not any(found.clear(name) for name in found.shares)


def test_diverged_trials_rank_last_and_failed_ones_are_left_out() -> None:
    def judge(point: Point) -> Ending:
        if point["batch_size"] == 16:
            return failed()
        return diverged(3) if point["temperature"] > 0.05 else used_up(0.1)

    trials = random_search(60, judge)
    found = importance(space_of(MIXED), trials)
    assert found is not None
    assert found.trials == sum(trial.state != "failed" for trial in trials) < 60
    assert next(iter(found.shares)) == "temperature"
    assert found.best == sum(trial.state == "complete" for trial in trials)  # fewer than a quarter


def test_too_few_trials_with_a_value_have_no_importance() -> None:
    values = iter([used_up(0.1)] * 4 + [diverged(3)] * 26)
    assert importance(space_of(MIXED), random_search(30, lambda _: next(values))) is None


def test_importance_is_the_same_again() -> None:
    trials = random_search(25, by_temperature)
    assert importance(space_of(MIXED), trials) == importance(space_of(MIXED), trials)


def test_too_few_trials_have_no_importance() -> None:
    trials = random_search(20, by_temperature)
    assert importance(space_of(MIXED), trials) is not None
    assert importance(space_of(MIXED), trials[1:]) is None


def test_a_space_without_a_choice_has_no_importance() -> None:
    space = space_of("loss_fn: mse\nspace: {batch_size: {choices: [16]}}")
    trials = new_trials(space)
    for value in range(25):
        trials.end(trials.add({"batch_size": 16}, seed=0), used_up(value / 25))
    assert importance(space, list(trials)) is None


def trials_of(*endings: Ending | None) -> LossTrials:
    trials = new_trials(space_of(MIXED))
    for ending in endings:
        number = trials.add({"temperature": 0.1, "batch_size": 16, "schedule": "constant"}, seed=0)
        if ending is not None:
            trials.end(number, ending)
    return trials


def test_the_search_curve_starts_with_the_first_value_and_never_falls() -> None:
    own = trials_of(failed(2), used_up(0.3, 27), None, cut(0.2, 3), used_up(0.4, 27))
    assert search_curve(own) == [
        SearchPoint(29, 0.3, "infonce-0001"),
        SearchPoint(32, 0.3, "infonce-0001"),
        SearchPoint(59, 0.4, "infonce-0004"),
    ]


def test_a_learning_curve_averages_the_runs_that_still_train() -> None:
    runs = [[0.1, 0.2, 0.3, 0.9], [0.3, 0.4, 0.5], [0.5, math.nan]]
    histories = [[{"epoch": e, "val/mrr": v} for e, v in enumerate(values, start=1)] for values in runs]
    found = learning_curve(histories, "val/mrr")
    assert found.epochs == [1, 2, 3]  # at 4 one of three still trains
    assert found.mean == pytest.approx([0.3, 0.3, 0.4])
    assert found.runs == [3, 2, 2]
    assert (found.low[0], found.high[0]) == pytest.approx((0.14, 0.46))


def test_a_learning_curve_of_nothing_is_empty() -> None:
    assert learning_curve([[{"epoch": 1}]], "val/mrr").epochs == []


def test_fates_group_trials_by_state_and_reason() -> None:
    patient = Ending("complete", "no new best since epoch 4", 9, 0.4, 4)
    late = Ending("complete", "no new best since epoch 7", 12, 0.4, 7)
    ends = [failed(1), cut(0.1, 3), patient, cut(0.2, 9), late, used_up(), cut(0.1, 3), diverged(2), None]
    assert fates(trials_of(*ends)) == [
        Fate("used its epochs", 1, 27),
        Fate("no new best", 2, 21),
        Fate("cut at rung 9", 1, 9),
        Fate("cut at rung 3", 2, 6),
        Fate("diverged", 1, 2),
        Fate("failed", 1, 1),
        Fate("not ended", 1, 0),
    ]
