"""InfoNCE against plain loops, other people's implementations, and values by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from info_nce import InfoNCE
from pydantic import ValidationError
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from losstune.trainer.losses.infonce import InfoNceConfig, in_batch_accuracy_text
from tests.trainer.losses.reference import (
    TOLERANCE,
    cosine_by_loops,
    infonce_by_loops,
    module_of,
    random_batch,
    run,
    twin_batch,
)

seeds = st.integers(0, 2**31)
batches = st.integers(1, 12)
widths = st.integers(1, 9)


def accuracy_by_loops(predictions: Tensor, targets: Tensor, ids: list[int]) -> float:
    """Share of rows whose best-scored target has the row's own id."""
    hits = 0
    for i, p in enumerate(predictions.tolist()):
        scores = [cosine_by_loops(p, t) for t in targets.tolist()]
        hits += ids[max(range(len(ids)), key=scores.__getitem__)] == ids[i]
    return hits / len(ids)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.05, 0.07, 0.1, 1.0])
def test_is_that_of_plain_loops(dtype: torch.dtype, seed: int, temperature: float) -> None:
    predictions, targets = random_batch(seed, dtype=dtype)
    output = run("infonce", predictions, targets, temperature=temperature)
    ids = list(range(len(targets)))
    expected = infonce_by_loops(predictions, targets, ids, temperature)
    assert float(output.loss) == pytest.approx(expected, rel=TOLERANCE[dtype])
    assert float(output.parts["infonce_acc"]) == pytest.approx(accuracy_by_loops(predictions, targets, ids))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.05, 0.07, 0.1])
def test_is_the_one_of_info_nce_pytorch(seed: int, temperature: float) -> None:
    predictions, targets = random_batch(seed, rows=32, dims=16)
    reference = InfoNCE(temperature=temperature)(predictions, targets)
    torch.testing.assert_close(run("infonce", predictions, targets, temperature=temperature).loss, reference)


@pytest.mark.parametrize("seed", range(3))
def test_classifies_predictions_against_targets_only_by_default(seed: int) -> None:
    predictions, targets = random_batch(seed)
    one_way, other_way = (InfoNCE(0.07)(*pair) for pair in ((predictions, targets), (targets, predictions)))
    assert not torch.isclose(one_way, other_way)
    torch.testing.assert_close(run("infonce", predictions, targets).loss, one_way)


@pytest.mark.parametrize("seed", range(3))
def test_symmetric_averages_both_directions(seed: int) -> None:
    predictions, targets = random_batch(seed)
    both = (InfoNCE(0.07)(predictions, targets) + InfoNCE(0.07)(targets, predictions)) / 2
    torch.testing.assert_close(run("infonce", predictions, targets, symmetric=True).loss, both)


@pytest.mark.parametrize("twins", [1, 2, 3])
def test_with_shared_targets_is_ntxent_by_label(twins: int) -> None:
    predictions, targets, ids = twin_batch(0, twins=twins)
    reference = NTXentLoss(temperature=0.07)(predictions, ids, ref_emb=targets, ref_labels=ids.clone())
    torch.testing.assert_close(run("infonce", predictions, targets, ids).loss, reference)


def test_of_two_orthogonal_pairs() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    output = run("infonce", eye, eye, temperature=1.0)
    assert float(output.loss) == pytest.approx(math.log(1 + math.exp(-1)))
    assert float(output.parts["infonce_acc"]) == 1


def test_of_swapped_pairs_hits_nothing() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    output = run("infonce", eye.flip(0), eye, temperature=1.0)
    assert float(output.loss) == pytest.approx(math.log(1 + math.exp(1)))
    assert float(output.parts["infonce_acc"]) == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_rows_that_share_an_id_are_no_negatives(symmetric: bool) -> None:
    predictions, targets, ids = twin_batch(1)
    loss = run("infonce", predictions, targets, ids, symmetric=symmetric).loss
    one_way = infonce_by_loops(predictions, targets, ids.tolist(), 0.07)
    other_way = infonce_by_loops(targets, predictions, ids.tolist(), 0.07)
    assert float(loss) == pytest.approx((one_way + other_way) / 2 if symmetric else one_way)


def test_a_twin_as_negative_would_raise_the_loss() -> None:
    predictions, targets, ids = twin_batch(1)
    assert run("infonce", predictions, targets, ids).loss < run("infonce", predictions, targets).loss


def test_the_best_scored_target_counts_as_a_hit_by_identity() -> None:
    _, targets, ids = twin_batch(2)
    assert float(run("infonce", targets.clone(), targets, ids).parts["infonce_acc"]) == 1


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_with_twins_is_that_of_plain_loops(seed: int) -> None:
    predictions, targets, ids = twin_batch(seed)
    accuracy = run("infonce", predictions, targets, ids).parts["infonce_acc"]
    assert float(accuracy) == pytest.approx(accuracy_by_loops(predictions, targets, ids.tolist()))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_of_one_target_only_has_nothing_to_tell_apart(dtype: torch.dtype) -> None:
    predictions, targets = random_batch(0, dtype=dtype)
    output = run("infonce", predictions, targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int))
    assert float(output.loss) == 0
    assert float(output.parts["infonce_acc"]) == 1


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_of_zero_predictions_is_at_chance(dtype: torch.dtype) -> None:
    _, targets = random_batch(0, dtype=dtype)
    output = run("infonce", torch.zeros_like(targets), targets)
    assert float(output.loss) == pytest.approx(math.log(len(targets)), rel=TOLERANCE[dtype])
    assert float(output.parts["infonce_acc"]) == 1 / len(targets)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_of_one_prediction_for_all_is_at_chance_accuracy(dtype: torch.dtype) -> None:
    predictions, targets = random_batch(0, dtype=dtype)
    output = run("infonce", predictions[:1].expand_as(predictions), targets)
    assert float(output.parts["infonce_acc"]) == 1 / len(targets)


def test_symmetric_gradients_are_those_of_finite_differences() -> None:
    predictions, targets, ids = twin_batch(5)
    module = module_of("infonce", targets, ids, symmetric=True)
    assert torch.autograd.gradcheck(lambda p: module(p, targets, ids).loss, predictions.requires_grad_())


@given(seeds, batches, widths, st.floats(0.01, 10), st.booleans())
def test_is_never_negative(seed: int, rows: int, dims: int, temperature: float, symmetric: bool) -> None:
    output = run("infonce", *random_batch(seed, rows, dims), temperature=temperature, symmetric=symmetric)
    assert float(output.loss) >= 0
    assert 0 <= float(output.parts["infonce_acc"]) <= 1


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0009}, {"temperature": 10.1}, {"temperature": math.nan}, {"symmetric": 1}]
)
def test_parameters_outside_their_limits_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InfoNceConfig(**settings)


def test_a_run_prints_the_accuracy_beside_chance() -> None:
    assert in_batch_accuracy_text(0.28125, 32) == "InfoNCE Acc: 28.12% (chance 3.12%)"
    assert InfoNceConfig().part_texts({"infonce_acc": 0.5, "temperature": 0.07}, 16) == [
        "InfoNCE Acc: 50.00% (chance 6.25%)",
        "Temperature: 0.0700",
    ]
