"""Which setting is the smallest that may be as good, and what is claimed of it, by scores whose truth is known."""

from typing import Any

import numpy as np
import pytest

from losstune.tuning.confirm.cost import Cost
from losstune.tuning.confirm.results import ArmResult, Results, Scores
from losstune.tuning.confirm.smallest import find_smallest
from losstune.tuning.confirm.statistics import difference, mean_interval

SEEDS = 10


def cost(parameters: int) -> Cost:
    return Cost(parameters=parameters, file_bytes=4 * parameters, dims=8, single=1e4, batched=1e6)


def arm(
    name: str, validation: float, parameters: int | None, role: Any = "candidate", cut: dict[int, float] | None = None
) -> ArmResult:
    own = None if parameters is None else cost(parameters)
    prefixes = {dims: [value] * SEEDS for dims, value in (cut or {}).items()}
    return ArmResult(
        name=name, loss_fn=name[0], role=role, validation=[validation] * SEEDS, cost=own, prefixes=prefixes
    )


def scores_of(level: float, seed: int, seeds: int = SEEDS) -> Scores:
    """Around a level, with a little noise of the arm's own that has no mean."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (seeds, 50))
    shared = np.random.default_rng(99).normal(0, 0.1, (1, 50))
    return {"mrr": level + noise - noise.mean() + shared - shared.mean()}


def results_of(*arms: ArmResult, picks: dict[str, str]) -> Results:
    return Results(picks=picks, arms=list(arms), targets=50, test_uses_before=0)


BEST = arm("a-0001", 0.50, 1000)
PICKS = {"a": "a-0001"}


def found(others: list[tuple[ArmResult, float]], margin: float = 0.02, seeds: int = SEEDS) -> Any:
    """What is found beside the choice, whose test score is 0.4, among arms with these test scores."""
    scores = {BEST.name: scores_of(0.4, 0, seeds)}
    scores |= {own.name: scores_of(level, place, seeds) for place, (own, level) in enumerate(others, start=1)}
    results = results_of(BEST, *(own for own, _ in others), picks=PICKS)
    return find_smallest(results, scores, "mrr", margin, seeds)


def test_a_quarter_of_the_parameters_that_does_as_well_is_claimed() -> None:
    small = found([(arm("b-0001", 0.49, 250), 0.396)])
    assert (small.name, small.loss_fn, small.measure, small.margin) == ("b-0001", "b", "mrr", 0.02)
    assert (small.share, small.verdict, small.cost.parameters) == (0.25, "as good", 250)
    assert small.difference.value == pytest.approx(-0.004)
    assert -0.02 < small.difference.low < -0.004 < small.difference.high < 0.02
    assert small.p < 0.05
    assert small.test.value == pytest.approx(0.396)
    assert small.validation == pytest.approx(0.49)


@pytest.mark.parametrize("level", [0.38, 0.37, 0.43])
def test_what_differs_by_the_margin_on_the_test_split_is_not(level: float) -> None:
    small = found([(arm("b-0001", 0.49, 250), level)])
    assert (small.verdict, small.p > 0.05) == ("not shown", True)


def test_nothing_is_claimed_with_fewer_than_ten_seeds() -> None:
    assert found([(arm("b-0001", 0.49, 250), 0.4)], seeds=9).verdict == "too few seeds"


@pytest.mark.parametrize(
    ("others", "margin", "name"),
    [
        ([("b-0001", 0.49, 250), ("b-0002", 0.485, 100), ("b-0003", 0.45, 10)], 0.02, "b-0002"),
        ([("b-0001", 0.49, 250), ("b-0002", 0.485, 100), ("b-0003", 0.45, 10)], 0.1, "b-0003"),
        ([("b-0001", 0.484, 100), ("b-0002", 0.49, 100)], 0.02, "b-0002"),  # of equals the better one
        ([("b-0001", 0.48, 250)], 0.02, None),  # as much worse as the margin is no more within it
        ([("b-0001", 0.50, 1000)], 0.02, None),
        ([("b-0001", 0.50, None)], 0.02, None),  # an earlier release confirmed it
    ],
)
def test_it_is_chosen_on_validation_alone(
    others: list[tuple[str, float, int | None]], margin: float, name: str | None
) -> None:
    """On the test split each is worse than the one before, which has no say."""
    arms = [(arm(*own), 0.4 - 0.1 * place) for place, own in enumerate(others)]
    small = found(arms, margin)
    assert (small.name if small else None) == name


def test_a_start_may_be_the_smallest_and_a_baseline_may_not() -> None:
    start, ridge = arm("b-start", 0.49, 250, "start"), arm("ridge", 0.5, 10, "baseline")
    assert found([(start, 0.4), (ridge, 0.4)]).name == "b-start"


def test_what_stopped_early_is_none() -> None:
    stopped = arm("b-0001", 0.49, 250).model_copy(update={"validation": [0.49] * 4, "lost_to": "a-0001"})
    assert found([(stopped, 0.4)]) is None
    assert found([(stopped, 0.4), (arm("c-0001", 0.49, 500), 0.4)]).name == "c-0001"


def test_a_choice_that_stopped_early_is_compared_on_the_seeds_that_both_have() -> None:
    """As where what it had lost to failed with a later seed, or in a confirmation of before."""
    choice = BEST.model_copy(update={"validation": [0.5] * 4, "lost_to": "c-0001"})
    small = arm("b-0001", 0.49, 250)
    scores = {choice.name: scores_of(0.4, 0, seeds=4), small.name: scores_of(0.396, 1)}
    told = find_smallest(results_of(choice, small, picks=PICKS), scores, "mrr", 0.02, SEEDS)
    assert told is not None
    assert told.difference == difference(scores[small.name]["mrr"][:4], scores[choice.name]["mrr"])
    assert told.test == mean_interval(scores[small.name]["mrr"])


def test_what_was_not_scored_on_the_test_split_is_none() -> None:
    results = results_of(BEST, arm("b-0001", 0.49, 250), picks=PICKS)
    assert find_smallest(results, {BEST.name: scores_of(0.4, 0)}, "mrr", 0.02, SEEDS) is None


def test_where_the_choices_own_cost_is_not_known_nothing_is_found() -> None:
    choice = arm("a-0001", 0.5, None)
    results = results_of(choice, arm("b-0001", 0.49, 250), picks=PICKS)
    scores = {own.name: scores_of(0.4, 0) for own in results.arms}
    assert find_smallest(results, scores, "mrr", 0.02, SEEDS) is None


@pytest.mark.parametrize(
    ("choice_cut", "others", "margin", "expected"),
    [
        ({4: 0.49, 2: 0.40}, [], 0.02, ("a-0001", 4)),
        ({4: 0.49, 2: 0.485}, [], 0.02, ("a-0001", 2)),
        ({4: 0.49, 2: 0.40}, [arm("b-0001", 0.5, 10)], 0.02, ("a-0001", 4)),  # dimensions first
        ({4: 0.49}, [arm("b-0001", 0.3, 10, cut={4: 0.485})], 0.02, ("b-0001", 4)),  # then parameters
        ({4: 0.49}, [arm("b-0001", 0.3, 2000, cut={2: 0.5})], 0.02, ("a-0001", 4)),  # more parameters are not smaller
        ({4: 0.47}, [arm("b-0001", 0.49, 10)], 0.02, ("b-0001", 8)),
        ({4: 0.47}, [], 0.02, None),
    ],
)
def test_prefixes_of_embeddings_are_models_too(
    choice_cut: dict[int, float], others: list[ArmResult], margin: float, expected: tuple[str, int] | None
) -> None:
    choice = arm("a-0001", 0.50, 1000, cut=choice_cut)
    results = results_of(choice, *others, picks=PICKS)
    scores = {own.name: scores_of(0.4, place) for place, own in enumerate(results.arms)}
    for own in results.arms:
        for dims in own.prefixes:
            scores[own.name][f"dim_{dims}/mrr"] = scores_of(0.39, dims)["mrr"]
    small = find_smallest(results, scores, "mrr", margin, SEEDS)
    assert (small and (small.name, small.cost.dims)) == expected
    if small is not None:
        assert (small.whole_dims, small.is_cut) == (8, small.cost.dims < 8)
        assert small.test.value == pytest.approx(0.39 if small.is_cut else 0.4)
        assert small.share == small.cost.parameters / 1000
        assert small.verdict == "as good"


def test_the_value_of_a_prefix_is_its_own() -> None:
    choice = arm("a-0001", 0.50, 1000, cut={4: 0.49})
    scores = {"a-0001": {**scores_of(0.4, 0), "dim_4/mrr": scores_of(0.37, 1)["mrr"]}}
    small = find_smallest(results_of(choice, picks=PICKS), scores, "mrr", 0.02, SEEDS)
    assert small is not None
    assert small.validation == pytest.approx(0.49)
    assert small.difference.value == pytest.approx(-0.03)
    assert small.verdict == "not shown"
