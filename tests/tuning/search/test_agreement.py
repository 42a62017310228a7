"""Whether another study orders this one's settings rightly: which pairs count, how much, and from when on."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from losstune.tuning.search.agreement import ENOUGH, FAIR, informs
from losstune.tuning.search.cube import Cube
from losstune.tuning.search.process import Process
from losstune.tuning.search.seen import MOST_EARLIER, observed_of, seen_of
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.study.trial import Ending, TrialView
from tests.tuning.samples import CONDITIONAL, CONTINUOUS, cut, diverged, failed, new_trials, space_of, used_up

SPACE = space_of(CONTINUOUS)
Judge = Callable[[Point], float]


def rising(point: Point) -> float:
    """Better the higher the learning rate."""
    return 0.1 * math.log10(point["lr"])


def falling(point: Point) -> float:
    return -rising(point)


def drawn(count: int, seed: int, space: SearchSpace = SPACE) -> list[Point]:
    return [Cube(space).point(place) for place in Cube(space).draw(count, np.random.default_rng(seed))]


def at_rates(*rates: float) -> list[Point]:
    return [{"lr": rate, "model.dropout": 0.3} for rate in rates]


def trials_of(ended: Iterable[tuple[Point, Ending]], space: SearchSpace = SPACE) -> list[TrialView]:
    trials = new_trials(space)
    for point, ending in ended:
        number = trials.add(point, seed=0)
        if ending.state == "pruned" and ending.best is not None:
            trials.report(number, ending.epochs, ending.best)
        trials.end(number, ending)
    return list(trials)


def judged(points: list[Point], judge: Judge, space: SearchSpace = SPACE) -> list[TrialView]:
    """Trained to the end, or cut at epoch 3, in turn."""
    endings = [used_up(judge(p)) if at % 2 else cut(judge(p) - 0.05, 3) for at, p in enumerate(points)]
    return trials_of(zip(points, endings, strict=True), space)


ELSEWHERE = judged(drawn(30, seed=1), rising)


@pytest.mark.parametrize("count", [ENOUGH, 12, 200])
def test_it_informs_where_the_order_is_the_same_whatever_the_level(count: int) -> None:
    points = drawn(count, seed=2)
    assert informs(judged(points, lambda point: 5.0 + 0.01 * rising(point)), ELSEWHERE, SPACE)
    assert not informs(judged(points, falling), ELSEWHERE, SPACE)


def test_before_enough_own_trials_have_a_value_every_second_proposal_knows_of_it() -> None:
    """Trials under way without one and failed ones do not count; start points are this study's own."""
    points = drawn(ENOUGH, seed=2)
    endings = [used_up(falling(point)) for point in points]
    few = list(zip(points[:-1], endings, strict=False))
    found = [
        informs(trials_of([*few, *((point, failed()) for point in drawn(n, 3))]), ELSEWHERE, SPACE) for n in range(4)
    ]
    assert found == [False, True, False, True]
    assert informs([], ELSEWHERE, SPACE)
    started = space_of(CONDITIONAL)
    begun = new_trials(started)
    for at, point in enumerate([*started.start, {"temperature": 0.1, "schedule": "constant"}]):
        begun.add(point, seed=0)
        assert informs(list(begun), ELSEWHERE, started) == (at == 1)
    assert not informs(trials_of(zip(points, endings, strict=True)), ELSEWHERE, SPACE)


def test_values_at_rungs_are_enough_and_are_compared_at_the_last_epoch_of_both() -> None:
    """All look wrong at epoch 3, and right at epoch 9, where they are told what they are."""
    trials = new_trials(SPACE)
    for point in drawn(8, seed=2):
        number = trials.add(point, seed=0)
        trials.report(number, 3, falling(point))
    assert not informs(list(trials), ELSEWHERE, SPACE)
    for number, trial in enumerate(list(trials)):
        trials.report(number, 9, rising(trial.point))
    assert informs(list(trials), ELSEWHERE, SPACE)


def test_what_the_other_study_holds_for_equal_hardly_counts() -> None:
    """Of proposals beside its best, noise alone says which is better; the start far off, and worse, counts."""
    close = at_rates(1.00e-1, 0.99e-1, 0.98e-1, 0.97e-1)
    ends = [used_up(0.5 + 0.01 * at) for at in range(4)]  # each pair of them in the wrong order
    start = (at_rates(1e-4)[0], used_up(0.1))
    assert informs(trials_of([start, *zip(close, ends, strict=True)]), ELSEWHERE, SPACE)
    assert not informs(trials_of([(start[0], used_up(0.9)), *zip(close, ends, strict=True)]), ELSEWHERE, SPACE)


def test_where_its_best_settings_diverge_it_does_not_agree() -> None:
    ends = [(point, diverged(2) if point["lr"] > 3e-3 else used_up(0.3)) for point in drawn(10, seed=4)]
    assert not informs(trials_of(ends), ELSEWHERE, SPACE)
    ends = [(point, diverged(2) if point["lr"] < 3e-3 else used_up(0.3)) for point in drawn(10, seed=4)]
    assert informs(trials_of(ends), ELSEWHERE, SPACE)


def test_equal_values_say_nothing() -> None:
    assert informs(judged(drawn(10, seed=4), lambda point: 0.5)[1::2], ELSEWHERE, SPACE)


@pytest.mark.filterwarnings("error")
def test_another_study_without_a_value_says_nothing() -> None:
    assert not informs(judged(drawn(10, seed=4), rising), trials_of([(drawn(1, seed=5)[0], failed())]), SPACE)


def test_conditional_parameters_are_compared() -> None:
    """What matters is the warmup, which half of the points do not have."""
    space = space_of(CONDITIONAL)

    def warmed(point: Point) -> float:
        return float(0.1 * point.get("warmup_epochs", 0))

    earlier = judged(drawn(40, 1, space), warmed, space)
    assert informs(judged(drawn(12, 2, space), warmed, space), earlier, space)
    assert not informs(judged(drawn(12, 2, space), lambda point: -warmed(point), space), earlier, space)


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_share_of_differences_in_the_right_order(seed: int) -> None:
    """By sums over whole matrices, from the same process, of trials that all used their epochs, with any values."""
    random = np.random.default_rng(seed)
    points = drawn(6, seed=seed)
    values = np.array([rising(point) for point in points]) + 0.15 * random.normal(size=6)
    own = trials_of((point, used_up(float(value))) for point, value in zip(points, values, strict=True))
    there = Process(observed_of(seen_of(ELSEWHERE, 27, MOST_EARLIER), Cube(SPACE), 27))
    told = there.mean(np.column_stack([Cube(SPACE).rows(Cube(SPACE).places(points)), np.ones(6)]))
    apart = np.subtract.outer(told, told)
    right = np.sign(apart) == np.sign(np.subtract.outer(values, values))
    share = (np.abs(apart) * right).sum() / np.abs(apart).sum()
    assert informs(own, ELSEWHERE, SPACE) == (share >= FAIR)
