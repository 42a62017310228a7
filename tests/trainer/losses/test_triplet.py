"""Triplets against another library's, plain loops, and values by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from losstune.trainer.losses.triplet import TripletConfig
from tests.trainer.losses.reference import TOLERANCE, cosine_by_loops, random_batch, run, twin_batch

KINDS = ("hardest", "semi_hard", "all")


def triplet_by_loops(predictions: Tensor, targets: Tensor, ids: list[int], margin: float, kind: str) -> float:
    costs = []
    for i, p in enumerate(predictions.tolist()):
        cosines = [cosine_by_loops(p, t) for t in targets.tolist()]
        others = [cosines[j] for j in range(len(ids)) if ids[j] != ids[i]]
        below = [c for c in others if c < cosines[i]]
        taken = {"hardest": [max(others)], "semi_hard": [max(below) if below else min(others)], "all": others}[kind]
        costs += [max(0.0, c - cosines[i] + margin) for c in taken]
    counted = [c for c in costs if c > 0] if kind == "all" else costs
    return sum(counted) / max(1, len(counted))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("twins", [1, 2])
def test_it_is_that_of_plain_loops(kind: str, margin: float, twins: int, dtype: torch.dtype) -> None:
    predictions, targets, ids = twin_batch(2, twins=twins)
    predictions, targets = predictions.to(dtype), targets.to(dtype)
    found = run("triplet", predictions, targets, ids, margin=margin, negatives=kind).loss
    expected = triplet_by_loops(predictions, targets, ids.tolist(), margin, kind)
    assert float(found) == pytest.approx(expected, rel=TOLERANCE[dtype])


@pytest.mark.parametrize("seed", range(3))
def test_all_are_those_of_pytorch_metric_learning(seed: int) -> None:
    predictions, targets = random_batch(seed, rows=32, dims=16)
    labels = torch.arange(32)
    reference = TripletMarginLoss(margin=0.2, distance=CosineSimilarity())
    expected = reference(predictions, labels, ref_emb=targets, ref_labels=labels.clone())
    torch.testing.assert_close(run("triplet", predictions, targets).loss, expected)


@pytest.mark.parametrize("seed", range(3))
def test_hardest_are_those_of_pytorch_metric_learning(seed: int) -> None:
    predictions, targets = random_batch(seed, rows=32, dims=16)
    labels = torch.arange(32)
    mined = BatchHardMiner(distance=CosineSimilarity())(predictions, labels, targets, labels.clone())
    reference = TripletMarginLoss(margin=0.2, distance=CosineSimilarity(), reducer=MeanReducer())
    expected = reference(predictions, labels, mined, ref_emb=targets, ref_labels=labels.clone())
    torch.testing.assert_close(run("triplet", predictions, targets, negatives="hardest").loss, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_two_orthogonal_pairs_by_hand(kind: str) -> None:
    eye = torch.eye(2, dtype=torch.float64)
    right = run("triplet", eye, eye, negatives=kind, margin=0.2)
    assert float(right.loss) == 0
    assert float(right.parts["active_triplets"]) == 0
    wide = run("triplet", eye, eye, negatives=kind, margin=1.5)
    assert float(wide.loss) == pytest.approx(0.5)
    swapped = run("triplet", eye.flip(0), eye, negatives=kind, margin=0.2)
    assert float(swapped.loss) == pytest.approx(1.2)
    assert float(swapped.parts["active_triplets"]) == 1


def test_semi_hard_is_the_highest_below_the_own_one() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [math.sqrt(0.5), math.sqrt(0.5)]])
    angle = math.radians(30)  # cosines: .87 to the own one, .5, -.87 and .97, which is above
    predictions = targets.clone()
    predictions[0] = torch.tensor([math.cos(angle), math.sin(angle)])
    costs = {
        kind: float(run("triplet", predictions[:1].expand(4, 2), targets, negatives=kind, margin=0.5).loss)
        for kind in KINDS
    }
    expected = triplet_by_loops(predictions[:1].expand(4, 2), targets, [0, 1, 2, 3], 0.5, "semi_hard")
    assert costs["semi_hard"] == pytest.approx(expected, rel=1e-5)
    assert costs["semi_hard"] < costs["hardest"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_target_costs_nothing_and_moves_nothing(kind: str) -> None:
    predictions, targets = random_batch(0)
    one, ids = targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int)
    leaf = predictions.clone().requires_grad_()
    output = run("triplet", leaf, one, ids, negatives=kind)
    output.loss.backward()
    assert float(output.loss.detach()) == 0
    assert leaf.grad is not None
    assert not leaf.grad.any()


@given(st.integers(0, 2**31), st.sampled_from(KINDS), st.floats(0.001, 2), st.integers(2, 12), st.integers(1, 9))
def test_it_stays_in_its_range(seed: int, kind: str, margin: float, rows: int, dims: int) -> None:
    output = run("triplet", *random_batch(seed, rows, dims), negatives=kind, margin=margin)
    assert 0 <= float(output.loss) <= 2 + margin + 1e-9
    assert 0 <= float(output.parts["active_triplets"]) <= 1


@pytest.mark.parametrize("settings", [{"margin": 0.0}, {"margin": 2.1}, {"negatives": "easy"}], ids=str)
def test_parameters_outside_their_limits_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TripletConfig(**settings)
