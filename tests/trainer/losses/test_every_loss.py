"""What holds for every registered loss, or for all that only see directions."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from losstune.trainer.config.loss_registry import loss_names
from losstune.trainer.losses import full_softmax, unit
from losstune.trainer.losses.base import closed_form
from tests.trainer.losses.reference import TOLERANCE, module_of, random_batch, run, twin_batch

DIRECTION = ("cosine", "infonce", "infonce_cosine", "siglip", "triplet", "full_softmax")
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", loss_names())
def test_zero_predictions_give_gradients_of_bounded_size(name: str, dtype: torch.dtype) -> None:
    _, targets = random_batch(0, dtype=dtype)
    predictions = torch.zeros_like(targets, requires_grad=True)
    run(name, predictions, targets).loss.backward()
    assert predictions.grad is not None
    assert float(predictions.grad.abs().max()) < 1e7


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", loss_names())
def test_a_batch_of_one_target_gives_finite_gradients(name: str, dtype: torch.dtype) -> None:
    predictions, targets = random_batch(0, dtype=dtype)
    predictions.requires_grad_()
    run(name, predictions, targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int)).loss.backward()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()


@pytest.mark.parametrize("name", loss_names())
@pytest.mark.parametrize("twins", [1, 2])
def test_gradients_are_those_of_finite_differences(name: str, twins: int) -> None:
    predictions, targets, ids = twin_batch(5, groups=4, twins=twins)
    module = module_of(name, targets, ids)
    assert torch.autograd.gradcheck(lambda p: module(p, targets, ids).loss, predictions.requires_grad_())


@given(seeds, st.sampled_from(DIRECTION), st.floats(1e-3, 1e3))
def test_direction_losses_ignore_the_scale_of_each_row(seed: int, name: str, scale: float) -> None:
    predictions, targets = random_batch(seed)
    scales = torch.linspace(1, scale, len(targets), dtype=torch.float64)[:, None]
    before = run(name, predictions, targets).loss
    torch.testing.assert_close(run(name, predictions * scales, targets / scales).loss, before)


@given(seeds, st.sampled_from(loss_names()), st.integers(1, 3))
def test_the_order_of_rows_changes_nothing(seed: int, name: str, twins: int) -> None:
    predictions, targets, ids = twin_batch(seed, twins=twins)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        run(name, predictions[order], targets[order], ids[order]).loss, run(name, predictions, targets, ids).loss
    )


@given(seeds, st.sampled_from([name for name in loss_names() if name != "huber"]))
def test_a_rotation_of_both_spaces_changes_nothing(seed: int, name: str) -> None:
    predictions, targets = random_batch(seed)
    rotation = torch.linalg.qr(random_batch(seed + 1, 5, 5)[0]).Q
    before = run(name, predictions, targets).loss
    torch.testing.assert_close(run(name, predictions @ rotation, targets @ rotation).loss, before)


CLOSED = [
    ("infonce", {}),
    ("infonce", {"temperature": 1.0, "symmetric": True}),
    ("infonce", {"temperature": 0.3, "learn_temperature": True}),
    ("infonce", {"temperature": 0.3, "learn_temperature": True, "symmetric": True}),
    ("infonce", {"temperature": 0.3, "decoupled": True}),
    ("infonce", {"temperature": 0.3, "hardness": 0.7, "symmetric": True}),
    ("infonce", {"temperature": 0.3, "hardness": 2.0, "decoupled": True, "learn_temperature": True}),
    ("infonce", {"temperature": 0.3, "guide_margin": 0.5, "symmetric": True}),
    ("infonce", {"temperature": 0.3, "guide_margin": 0.6, "hardness": 1.0}),
    ("infonce", {"temperature": 0.3, "target_temperature": 0.2, "symmetric": True, "learn_temperature": True}),
    ("infonce", {"temperature": 0.3, "target_temperature": 0.2, "guide_margin": 0.6}),
    ("infonce_cosine", {"similarity_weight": 3.0}),
    ("infonce_cosine", {"temperature": 0.3, "decoupled": True, "hardness": 0.5}),
    ("infonce_cosine", {"temperature": 0.3, "learn_temperature": True, "symmetric": True}),
    ("siglip", {"initial_scale": 2.0, "initial_bias": -1.0}),
    ("triplet", {}),
    ("triplet", {"negatives": "hardest", "margin": 1.0}),
    ("triplet", {"negatives": "semi_hard", "margin": 0.5}),
    ("cosine", {}),
    ("mse", {}),
    ("cosine_mse", {"cosine_weight": 0.4, "mse_weight": 2.0}),
    ("huber", {"delta": 0.5}),
]
"""Losses that have their gradient as a formula, with each of their options."""


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize(("name", "settings"), CLOSED, ids=str)
def test_a_formula_is_the_forward_pass_and_its_gradient(
    name: str, settings: dict[str, Any], twins: int, share: float, dtype: torch.dtype
) -> None:
    predictions, targets, ids = twin_batch(5, groups=4, twins=twins)
    predictions, targets = predictions.to(dtype), targets.to(dtype)
    predictions[0] *= 1e-9  # a row so short that it is not brought to length one
    module = module_of(name, targets, ids, **settings).to(dtype)
    closed = closed_form(module)
    assert closed is not None
    leaf = predictions.clone().requires_grad_()
    expected = module(leaf, targets, ids)
    (share * expected.loss).backward()
    own = [parameter.grad for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = None
    with torch.inference_mode():
        for times in (1, 2):  # the second adds to the parameters' gradients
            output, gradient = closed.with_gradient(predictions, closed.prepared(targets), ids, share)
            near = 1e-5 if dtype == torch.float32 else 1e-7
            torch.testing.assert_close(gradient, leaf.grad, rtol=near, atol=near)
            torch.testing.assert_close(output.loss, expected.loss.detach())
            for parameter, first in zip(module.parameters(), own, strict=True):
                assert parameter.grad is not None
                assert first is not None
                torch.testing.assert_close(parameter.grad, times * first)
    assert output.parts.keys() == expected.parts.keys()
    for part, value in expected.parts.items():
        torch.testing.assert_close(output.parts[part], value.to(output.parts[part].dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize(("name", "settings"), CLOSED, ids=str)
def test_a_formula_is_that_of_finite_differences(name: str, settings: dict[str, Any], twins: int) -> None:
    predictions, targets, ids = twin_batch(6, groups=4, twins=twins)
    closed = closed_form(module_of(name, targets, ids, **settings).double())
    assert closed is not None

    def value(p: Tensor) -> float:
        with torch.inference_mode():
            return float(closed.with_gradient(p, closed.prepared(targets), ids, 1.0)[0].loss)

    with torch.inference_mode():
        _, gradient = closed.with_gradient(predictions, closed.prepared(targets), ids, 1.0)
    for row, column in ((0, 0), (1, 3), (3, 4)):
        step = torch.zeros_like(predictions)
        step[row, column] = 1e-6
        slope = (value(predictions + step) - value(predictions - step)) / 2e-6
        assert float(gradient[row, column]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_every_loss_with_a_formula_is_in_the_table() -> None:
    _, targets, ids = twin_batch(0)
    assert {name for name in loss_names() if closed_form(module_of(name, targets, ids))} == {n for n, _ in CLOSED}


@dataclass(frozen=True)
class RightPairs:
    """Targets, by id, that are right for each row of a batch beside its own."""

    right: list[set[int]]

    def among(self, ids: Tensor) -> Tensor:
        return torch.tensor([[identity in own for identity in ids.tolist()] for own in self.right])

    def split(self, size: int) -> "list[RightPairs]":
        return [RightPairs(self.right[start : start + size]) for start in range(0, len(self.right), size)]


RIGHT = [{0, 3}, {1}, {2, 5, 7}, {0, 3}, {4}, {2, 5, 7}, {6}, {7, 1}]


@pytest.mark.parametrize("symmetric", [False, True])
def test_no_right_target_is_a_negative_in_infonce(symmetric: bool) -> None:
    predictions, targets = random_batch(3)
    ids = torch.arange(8)
    module = module_of("infonce", targets, symmetric=symmetric, temperature=0.2)
    s = (unit(predictions) @ unit(targets).T / 0.2).exp().tolist()

    def row(i: int) -> float:
        return s[i][i] / sum(s[i][j] for j in range(8) if j == i or j not in RIGHT[i])

    def column(j: int) -> float:
        return s[j][j] / sum(s[i][j] for i in range(8) if i == j or j not in RIGHT[i])

    expected = -sum(math.log(row(i)) for i in range(8)) / 8
    if symmetric:
        expected = (expected - sum(math.log(column(j)) for j in range(8)) / 8) / 2
    assert float(module(predictions, targets, ids, RightPairs(RIGHT)).loss) == pytest.approx(expected)


def test_no_right_target_is_a_negative_in_siglip() -> None:
    predictions, targets = random_batch(3)
    module = module_of("siglip", targets)
    scores = (10 * unit(predictions) @ unit(targets).T - 10).tolist()
    terms = [
        math.log1p(math.exp(-scores[i][j] if i == j else scores[i][j]))
        for i in range(8)
        for j in range(8)
        if i == j or j not in RIGHT[i]
    ]
    found = module(predictions, targets, torch.arange(8), RightPairs(RIGHT)).loss.detach()
    assert float(found) == pytest.approx(sum(terms) / 8, rel=1e-6)


@pytest.mark.parametrize("at_once", [2**24, 8 * 3])
def test_no_right_target_is_a_negative_in_full_softmax(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_softmax, "SCORES_AT_ONCE", at_once)
    predictions, targets = random_batch(3)
    module = module_of("full_softmax", targets, temperature=0.2)
    s = (unit(predictions) @ unit(targets).T / 0.2).exp().tolist()
    losses = [-math.log(s[i][i] / sum(s[i][j] for j in range(8) if j == i or j not in RIGHT[i])) for i in range(8)]
    with torch.no_grad():
        found = module(predictions, targets, torch.arange(8), RightPairs(RIGHT)).loss
    assert float(found) == pytest.approx(sum(losses) / 8)


def test_no_right_target_is_a_negative_in_triplet() -> None:
    predictions, targets = random_batch(3)
    cosines = (unit(predictions) @ unit(targets).T).tolist()
    costs = [cosines[i][j] - cosines[i][i] + 0.5 for i in range(8) for j in range(8) if i != j and j not in RIGHT[i]]
    active = [cost for cost in costs if cost > 0]
    found = module_of("triplet", targets, margin=0.5)(predictions, targets, torch.arange(8), RightPairs(RIGHT))
    assert float(found.loss) == pytest.approx(sum(active) / len(active))
    assert float(found.parts["active_triplets"]) == pytest.approx(len(active) / len(costs))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("infonce", {}),
        ("infonce", {"hardness": 0.5, "temperature": 0.3, "symmetric": True}),
        ("infonce", {"target_temperature": 0.3, "temperature": 0.3, "symmetric": True}),
        ("infonce_cosine", {}),
        ("siglip", {}),
        ("triplet", {"negatives": "semi_hard"}),
    ],
    ids=str,
)
def test_their_gradients_by_formula_are_those_of_autograd(name: str, settings: dict[str, Any]) -> None:
    predictions, targets = random_batch(3)
    module, ids, right = module_of(name, targets, **settings), torch.arange(8), RightPairs(RIGHT)
    leaf = predictions.clone().requires_grad_()
    module(leaf, targets, ids, right).loss.backward()
    with torch.no_grad():
        _, gradient = module.with_gradient(predictions, module.prepared(targets), ids, 1.0, right)  # type: ignore[operator]
    torch.testing.assert_close(gradient, leaf.grad)
