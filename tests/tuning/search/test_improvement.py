"""What the Gaussian process proposes: any points at first, then where most is expected, and never a point twice."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from losstune.tuning.search import process
from losstune.tuning.search.agreement import ENOUGH
from losstune.tuning.search.cube import Cube, Observed, key
from losstune.tuning.search.improvement import FIRST, promising
from losstune.tuning.search.proposals import propose
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.trial import Ending, TrialView
from tests.tuning.samples import CONTINUOUS, cut, diverged, new_trials, space_of, used_up

STARTING = """
    loss_fn: mse
    start: [{lr: 1.0e-2, model.dropout: 0.1}]
    space:
      lr: {low: 1.0e-4, high: 1.0e-1, log: true}
      model.dropout: {low: 0.0, high: 0.9}
"""


def ended(trials: LossTrials, point: Point, ending: Ending) -> None:
    trials.end(trials.add(point, seed=0), ending)


def searched(space: SearchSpace, value: Callable[[Point], float], count: int, seed: int = 0) -> list[Point]:
    """Propose and train to the end."""
    trials = new_trials(space)
    for _ in range(count):
        point = propose(trials, "gp", seed)
        assert point is not None
        ended(trials, point, used_up(value(point)))
    return [trial.point for trial in trials]


def peak(point: Point) -> float:
    """Highest at a learning rate of 1e-3 and a dropout of 0.6, far from the start."""
    return 0.5 - 0.1 * (math.log10(point["lr"]) + 3) ** 2 - 0.3 * (point["model.dropout"] - 0.6) ** 2


def test_it_finds_the_peak() -> None:
    for seed in range(3):
        best = max(searched(space_of(STARTING), peak, 25, seed), key=peak)
        assert peak(best) > 0.495


def test_it_beats_chance_by_far() -> None:
    def missed(sampler_points: list[Point]) -> float:
        return 0.5 - max(map(peak, sampler_points))

    own = np.mean([missed(searched(space_of(CONTINUOUS), peak, 25, seed)) for seed in range(3)])
    cube = Cube(space_of(CONTINUOUS))
    chance = np.mean(
        [missed([cube.point(one) for one in cube.draw(25, np.random.default_rng(seed))]) for seed in range(20)]
    )
    assert own < chance / 5


def test_the_first_ones_are_the_start_points_and_any() -> None:
    points = searched(space_of(STARTING), peak, FIRST)
    assert points[0] == space_of(STARTING).start[0]
    assert np.std([math.log10(point["lr"]) for point in points]) > 0.5


def test_values_of_early_epochs_tell_of_the_last_one() -> None:
    """A trial that was cut, and looked well, draws proposals near it though nothing was trained to the end there."""
    space = space_of(CONTINUOUS)
    trials = new_trials(space)
    points = [Cube(space).point(one) for one in Cube(space).draw(30, np.random.default_rng(0))]
    for at, point in enumerate(points):
        early = peak(point) - 0.1
        trials.end(number := trials.add(point, seed=0), used_up(peak(point)) if at % 5 == 0 else cut(early, 3))
        assert trials[number].ending is not None
    found = [promising(list(trials), space, seed, set()) for seed in range(5)]
    assert np.mean([peak(point) for point in found if point is not None]) > max(map(peak, points)) - 0.03


def test_it_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials have the other cores; and threads wait for each other where all are busy."""

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    class Watched(process.Process):
        def __init__(self, seen: Observed) -> None:
            found.append(threads())
            super().__init__(seen)

    found: list[list[int]] = []
    monkeypatch.setattr(process, "Process", Watched)
    with threadpool_limits(2, "blas"):
        searched(space_of(CONTINUOUS), peak, FIRST + 1)
        warm = new_trials(space_of(STARTING))
        for point in searched(space_of(STARTING), peak, ENOUGH):
            ended(warm, point, used_up(peak(point)))
        propose(warm, "gp", 0, elsewhere(peak))
        assert set(threads()) == {2}
    assert len(found) >= 3  # without the other study; to judge it; with it
    assert {count for own in found for count in own} == {1}


def test_where_a_trial_runs_no_other_is_begun() -> None:
    space = space_of(CONTINUOUS)
    trials = new_trials(space)
    for point in searched(space, peak, 20):
        ended(trials, point, used_up(peak(point)))
    first = propose(trials, "gp", 0)
    assert first is not None
    trials.add(first, seed=0)
    second = propose(trials, "gp", 0)
    assert second is not None
    cube = Cube(space)
    assert np.abs(np.subtract(*cube.places([first, second]))).max() > 0.02


def test_where_trials_diverge_it_keeps_away() -> None:
    space = space_of(CONTINUOUS)
    trials = new_trials(space)
    for point in (Cube(space).point(one) for one in Cube(space).draw(20, np.random.default_rng(0))):
        ended(trials, point, diverged(2) if point["lr"] > 1e-2 else used_up(0.3))
    found = [promising(list(trials), space, seed, set()) for seed in range(10)]
    assert sum(point is not None and point["lr"] > 1e-2 for point in found) <= 2


OTHER_LEVEL = 0.1
"""Of another data set: its values are a tenth of this one's, and lie about another middle."""


def elsewhere(top: Callable[[Point], float], count: int = 30) -> list[TrialView]:
    """Trials of another study, by chance, of which a third were cut early."""
    space = space_of(STARTING)
    trials = new_trials(space)
    for at, place in enumerate(Cube(space).draw(count, np.random.default_rng(7))):
        point = Cube(space).point(place[None][0])
        value = 0.02 + OTHER_LEVEL * top(point)
        ended(trials, point, cut(value - 0.01, 9) if at % 3 == 0 else used_up(value))
    return list(trials)


def missed(earlier: list[TrialView], count: int, seed: int) -> float:
    trials = new_trials(space_of(STARTING))
    for _ in range(count):
        point = propose(trials, "gp", seed, earlier)
        assert point is not None
        ended(trials, point, used_up(peak(point)))
    return 0.5 - max(peak(trial.point) for trial in trials)


def test_another_studys_trials_say_where_to_begin() -> None:
    """The start point is tried first all the same; three trials are as good as without them many more."""
    warm, cold = (np.mean([missed(earlier, 4, seed) for seed in range(4)]) for earlier in (elsewhere(peak), []))
    assert warm < 0.02
    assert warm < cold / 4
    assert propose(new_trials(space_of(STARTING)), "gp", 0, elsewhere(peak)) == space_of(STARTING).start[0]


def test_where_the_other_studys_best_is_elsewhere_it_is_left() -> None:
    def turned(point: Point) -> float:
        mirrored = {"lr": 1e-5 / point["lr"], "model.dropout": 0.9 - point["model.dropout"]}
        return peak(mirrored)

    assert np.mean([missed(elsewhere(turned), 25, seed) for seed in range(3)]) < 0.01


def test_none_where_all_candidates_are_known() -> None:
    space = space_of("""
        loss_fn: mse
        space: {batch_size: {choices: [16, 32]}}
    """)
    trials = new_trials(space)
    trials.add({"batch_size": 16}, seed=0)
    assert promising(list(trials), space, 0, {key({"batch_size": 16}), key({"batch_size": 32})}) is None


def test_with_all_trials_diverged_there_is_a_proposal() -> None:
    trials = new_trials(space_of(CONTINUOUS))
    for _ in range(12):
        point = propose(trials, "gp", 0)
        assert point is not None
        ended(trials, point, diverged(1))
