"""The variants of InfoNCE against plain loops, and where they meet each other."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from losstune.trainer.losses.infonce import InfoNceConfig
from tests.trainer.losses.reference import (
    TOLERANCE,
    cosine_by_loops,
    infonce_by_loops,
    module_of,
    random_batch,
    run,
    twin_batch,
)

TEMPERATURE = 0.3


def scores_by_loops(predictions: Tensor, targets: Tensor) -> list[list[float]]:
    return [[cosine_by_loops(p, t) / TEMPERATURE for t in targets.tolist()] for p in predictions.tolist()]


def others(ids: list[int], i: int) -> list[int]:
    return [j for j in range(len(ids)) if ids[j] != ids[i]]


def weighted_by_loops(scores: list[list[float]], ids: list[int], hardness: float, decoupled: bool) -> float:
    """Each negative's exp(s) times its weight, as the paper's own code sums them: weights of mean one."""
    total = 0.0
    for i, row in enumerate(scores):
        negatives = [row[j] for j in others(ids, i)]
        weights = [math.exp(hardness * s) for s in negatives]
        mean = sum(weights) / len(weights)
        against = sum(w / mean * math.exp(s) for w, s in zip(weights, negatives, strict=True))
        total += math.log(against + (0 if decoupled else math.exp(row[i]))) - row[i]
    return total / len(scores)


def soft_by_loops(scores: list[list[float]], targets: Tensor, ids: list[int], temperature: float) -> float:
    """KL from the shares that the targets' own cosines give, twins left out of both."""
    total, rows = 0.0, targets.tolist()
    for i, row in enumerate(scores):
        there = [i, *others(ids, i)]
        wanted = [math.exp(cosine_by_loops(rows[i], rows[j]) / temperature) for j in there]
        found = [math.exp(row[j]) for j in there]
        for w, f in zip(wanted, found, strict=True):
            share = w / sum(wanted)
            total += share * math.log(share / (f / sum(found)))
    return total / len(scores)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize(("hardness", "decoupled"), [(0.0, True), (0.5, False), (2.0, False), (2.0, True)])
def test_weighted_negatives_are_those_of_plain_loops(
    hardness: float, decoupled: bool, twins: int, dtype: torch.dtype
) -> None:
    predictions, targets, ids = twin_batch(3, twins=twins)
    predictions, targets = predictions.to(dtype), targets.to(dtype)
    found = run(
        "infonce", predictions, targets, ids, temperature=TEMPERATURE, hardness=hardness, decoupled=decoupled
    ).loss
    expected = weighted_by_loops(scores_by_loops(predictions, targets), ids.tolist(), hardness, decoupled)
    assert float(found) == pytest.approx(expected, rel=TOLERANCE[dtype])


@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_soft_targets_are_those_of_plain_loops(temperature: float, twins: int) -> None:
    predictions, targets, ids = twin_batch(4, twins=twins)
    found = run("infonce", predictions, targets, ids, temperature=TEMPERATURE, target_temperature=temperature).loss
    expected = soft_by_loops(scores_by_loops(predictions, targets), targets, ids.tolist(), temperature)
    assert float(found) == pytest.approx(expected)


def test_soft_targets_are_torchs_divergence_of_distributions() -> None:
    predictions, targets = random_batch(6)
    cosines = torch.nn.functional.cosine_similarity(predictions[:, None], targets[None], dim=-1)
    own = torch.nn.functional.cosine_similarity(targets[:, None], targets[None], dim=-1)
    wanted, found = ((x / TEMPERATURE).log_softmax(dim=1) for x in (own, cosines))
    reference = torch.nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
    settings = {"temperature": TEMPERATURE, "target_temperature": TEMPERATURE}
    torch.testing.assert_close(run("infonce", predictions, targets, **settings).loss, reference)


def test_soft_targets_cost_nothing_where_predictions_are_the_targets() -> None:
    _, targets = random_batch(6)
    settings = {"temperature": TEMPERATURE, "target_temperature": TEMPERATURE}
    assert float(run("infonce", targets.clone(), targets, **settings).loss) == pytest.approx(0, abs=1e-12)


def test_sharp_soft_targets_are_infonce() -> None:
    predictions, targets = random_batch(6)
    found = run("infonce", predictions, targets, target_temperature=0.001).loss
    torch.testing.assert_close(found, run("infonce", predictions, targets).loss)


def test_targets_nearer_than_the_margin_are_no_negatives() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(1 - 0.81)], [0.0, 1.0], [-1.0, 0.1]], dtype=torch.float64)
    predictions, _ = random_batch(7, rows=4, dims=2)
    near = [0, 0, 1, 2]  # the cosine of the first two is 0.9
    found = run("infonce", predictions, targets, temperature=TEMPERATURE, guide_margin=0.11).loss
    assert float(found) == pytest.approx(infonce_by_loops(predictions, targets, near, TEMPERATURE))
    all_there = run("infonce", predictions, targets, temperature=TEMPERATURE, guide_margin=0.09).loss
    assert float(all_there) == pytest.approx(infonce_by_loops(predictions, targets, [0, 1, 2, 3], TEMPERATURE))


def test_near_targets_are_no_negatives_of_the_other_direction_either() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(1 - 0.81)], [0.0, 1.0]], dtype=torch.float64)
    predictions, _ = random_batch(8, rows=3, dims=2)
    found = run("infonce", predictions, targets, temperature=TEMPERATURE, guide_margin=0.2, symmetric=True).loss
    both = [
        infonce_by_loops(*pair, [0, 0, 1], TEMPERATURE) for pair in ((predictions, targets), (targets, predictions))
    ]
    assert float(found) == pytest.approx(sum(both) / 2)


@given(st.integers(0, 2**31), st.integers(2, 12))
def test_options_that_are_off_change_nothing(seed: int, rows: int) -> None:
    predictions, targets = random_batch(seed, rows)
    plain = run("infonce", predictions, targets).loss
    torch.testing.assert_close(run("infonce", predictions, targets, hardness=1e-9).loss, plain)
    torch.testing.assert_close(run("infonce", predictions, targets, guide_margin=0.0).loss, plain)


@given(st.integers(0, 2**31), st.integers(2, 12))
def test_near_negatives_weigh_more_with_hardness(seed: int, rows: int) -> None:
    predictions, targets = random_batch(seed, rows)
    costs = [
        float(run("infonce", predictions, targets, temperature=1.0, hardness=h, decoupled=True).loss) for h in (0, 1, 4)
    ]
    assert all(less <= more + 1e-9 for less, more in pairwise(costs))


@pytest.mark.parametrize(
    "settings",
    [{"decoupled": True}, {"hardness": 1.0}, {"hardness": 1.0, "decoupled": True}, {"target_temperature": 0.1}],
    ids=str,
)
def test_a_batch_of_one_target_costs_nothing_and_moves_nothing(settings: dict[str, Any]) -> None:
    predictions, targets = random_batch(0)
    one, ids = targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int)
    leaf = predictions.clone().requires_grad_()
    module = module_of("infonce", one, ids, **settings)
    output = module(leaf, one, ids)
    output.loss.backward()
    assert float(output.loss.detach()) == pytest.approx(0)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, torch.zeros_like(leaf))
    closed, gradient = module.with_gradient(predictions, module.prepared(one), ids, 1.0)  # type: ignore[operator]
    assert float(closed.loss) == pytest.approx(0)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(("other", "named"), [({"decoupled": True}, "decoupled"), ({"hardness": 1.0}, "hardness")])
def test_one_right_target_and_shared_labels_are_two_wishes(other: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=f"target_temperature: not together with {named}, which counts one"):
        InfoNceConfig(target_temperature=0.1, **other)


@pytest.mark.parametrize(
    "settings",
    [{"hardness": -0.1}, {"hardness": 10.1}, {"guide_margin": 1.1}, {"target_temperature": 0.0}, {"decoupled": 1}],
    ids=str,
)
def test_options_outside_their_limits_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InfoNceConfig(**settings)
