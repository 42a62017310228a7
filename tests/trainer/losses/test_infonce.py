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

from losstune.trainer.losses.base import OwnNegatives, asked_for, closed_form
from losstune.trainer.losses.infonce import InfoNceConfig, in_batch_accuracy_text
from tests.trainer.losses.reference import (
    TOLERANCE,
    cosine_by_loops,
    infonce_by_loops,
    module_of,
    random_batch,
    run,
    softmax_by_loops,
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


def own_negatives(seed: int, rows: int = 8, each: int = 3, dims: int = 5) -> OwnNegatives:
    """Some of each row's own; not all usable, and of row 1 none."""
    generator = torch.Generator().manual_seed(seed)
    usable = torch.rand(rows, each, generator=generator) < 0.7
    usable[1] = False
    return OwnNegatives(torch.randn(rows, each, dims, generator=generator, dtype=torch.float64), usable)


WITH_OWN: list[dict[str, Any]] = [
    {},
    {"symmetric": True},
    {"guide_margin": 0.6},
    {"guide_margin": 0.6, "symmetric": True, "learn_temperature": True},
    {"decoupled": True},
    {"hardness": 0.7, "symmetric": True},
    {"target_temperature": 0.2, "symmetric": True},
    {"target_temperature": 0.2, "guide_margin": 0.6},
]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("margin", [None, 0.6])
@pytest.mark.parametrize("twins", [1, 2])
def test_negatives_of_a_row_s_own_join_its_sum_alone(twins: int, margin: float | None, symmetric: bool) -> None:
    predictions, targets, ids = twin_batch(4, groups=8 // twins, twins=twins)
    own = own_negatives(4)
    module = module_of("infonce", targets, ids, temperature=0.2, guide_margin=margin, symmetric=symmetric)
    p, t = predictions.tolist(), targets.tolist()

    def no_negative(i: int, target: list[float]) -> bool:
        return margin is not None and cosine_by_loops(t[i], target) > 1 - margin

    losses = []
    for i in range(8):
        others = [t[j] for j in range(8) if ids[i] != ids[j]]
        others += [n for n, usable in zip(own.targets[i].tolist(), own.usable[i].tolist(), strict=True) if usable]
        scores = [cosine_by_loops(p[i], n) / 0.2 for n in others if not no_negative(i, n)]
        losses.append(softmax_by_loops(cosine_by_loops(p[i], t[i]) / 0.2, scores))
        if symmetric:
            askers = [p[j] for j in range(8) if ids[i] != ids[j] and not no_negative(j, t[i])]
            scores = [cosine_by_loops(asker, t[i]) / 0.2 for asker in askers]
            losses.append(softmax_by_loops(cosine_by_loops(p[i], t[i]) / 0.2, scores))
    output = module(predictions, targets, ids, negatives=own)
    assert float(output.loss) == pytest.approx(sum(losses) / len(losses))
    assert output.parts == module(predictions, targets, ids).parts  # accuracy is that among the batch


def test_label_shares_reach_negatives_of_a_row_s_own() -> None:
    predictions, targets = random_batch(4)
    own = own_negatives(4)
    module = module_of("infonce", targets, temperature=0.3, target_temperature=0.2)
    p, t = predictions.tolist(), targets.tolist()
    losses = []
    for i in range(8):
        usable = zip(own.targets[i].tolist(), own.usable[i].tolist(), strict=True)
        known = [*t, *(n for n, there in usable if there)]
        wanted = [math.exp(cosine_by_loops(t[i], n) / 0.2) for n in known]
        found = [math.exp(cosine_by_loops(p[i], n) / 0.3) for n in known]
        shares = [(w / sum(wanted), f / sum(found)) for w, f in zip(wanted, found, strict=True)]
        losses.append(sum(w * math.log(w / f) for w, f in shares))
    found_loss = module(predictions, targets, torch.arange(8), negatives=own).loss
    assert float(found_loss) == pytest.approx(sum(losses) / 8)


@pytest.mark.parametrize("settings", WITH_OWN, ids=str)
def test_without_usable_ones_it_is_as_without_them(settings: dict[str, Any]) -> None:
    predictions, targets = random_batch(2)
    module, ids = module_of("infonce", targets, **settings), torch.arange(8)
    none = own_negatives(2)._replace(usable=torch.zeros(8, 3, dtype=torch.bool))
    torch.testing.assert_close(
        module(predictions, targets, ids, negatives=none).loss, module(predictions, targets, ids).loss
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize("name", ["infonce", "infonce_cosine"])
@pytest.mark.parametrize("settings", WITH_OWN, ids=str)
def test_with_own_negatives_the_formula_is_autograd_s(
    settings: dict[str, Any], name: str, twins: int, dtype: torch.dtype
) -> None:
    predictions, targets, ids = twin_batch(5, groups=8 // twins, twins=twins)
    predictions, targets = predictions.to(dtype), targets.to(dtype)
    own = own_negatives(5)
    own = own._replace(targets=own.targets.to(dtype))
    module = module_of(name, targets, ids, temperature=0.3, **settings).to(dtype)
    leaf = predictions.clone().requires_grad_()
    expected = module(leaf, targets, ids, negatives=own)
    (0.25 * expected.loss).backward()
    learnt = [parameter.grad for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = None
    closed = closed_form(module)
    assert closed is not None
    with torch.inference_mode():
        ready = own._replace(targets=closed.prepared(own.targets))
        output, gradient = closed.with_gradient(
            predictions, closed.prepared(targets), ids, 0.25, **asked_for(closed.with_gradient, None, ready)
        )
    near = 1e-5 if dtype == torch.float32 else 1e-7
    torch.testing.assert_close(gradient, leaf.grad, rtol=near, atol=near)
    torch.testing.assert_close(output.loss, expected.loss.detach())
    for parameter, first in zip(module.parameters(), learnt, strict=True):
        torch.testing.assert_close(parameter.grad, first)
    assert output.parts.keys() == expected.parts.keys()


@pytest.mark.parametrize("settings", WITH_OWN, ids=str)
def test_with_own_negatives_gradients_are_those_of_finite_differences(settings: dict[str, Any]) -> None:
    predictions, targets, ids = twin_batch(5)
    module = module_of("infonce", targets, ids, temperature=0.3, **settings).double()
    own = own_negatives(5)
    assert torch.autograd.gradcheck(lambda p: module(p, targets, ids, negatives=own).loss, predictions.requires_grad_())


def test_own_negatives_that_are_zero_cost_like_any_of_right_angles() -> None:
    predictions, targets = random_batch(3)
    zero = OwnNegatives(torch.zeros(8, 2, 5, dtype=torch.float64), torch.ones(8, 2, dtype=torch.bool))
    module = module_of("infonce", targets)
    leaf = predictions.clone().requires_grad_()
    module(leaf, targets, torch.arange(8), negatives=zero).loss.backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
