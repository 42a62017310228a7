"""SigLIP against the paper's formula in plain loops, and its two learnt numbers."""

import math

import pytest
import torch
from torch import Tensor

from tests.trainer.losses.reference import TOLERANCE, cosine_by_loops, module_of, random_batch, run, twin_batch


def siglip_by_loops(predictions: Tensor, targets: Tensor, ids: list[int], scale: float, bias: float) -> float:
    """−1/B Σ_i Σ_j log 1 / (1 + exp(−z_ij (s · cos_ij + b))), equation 1 of the paper."""
    total = 0.0
    for i, p in enumerate(predictions.tolist()):
        for j, t in enumerate(targets.tolist()):
            if i == j or ids[i] != ids[j]:
                z = 1 if i == j else -1
                total += math.log1p(math.exp(-z * (scale * cosine_by_loops(p, t) + bias)))
    return total / len(ids)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (20.0, -3.5), (1.0, 0.0), (5.0, 2.0)])
@pytest.mark.parametrize("twins", [1, 2, 3])
def test_it_is_the_papers_sum_over_pairs(dtype: torch.dtype, scale: float, bias: float, twins: int) -> None:
    predictions, targets, ids = twin_batch(1, twins=twins)
    predictions, targets = predictions.to(dtype), targets.to(dtype)
    output = run("siglip", predictions, targets, ids, initial_scale=scale, initial_bias=bias)
    assert output.loss.dtype == dtype
    expected = siglip_by_loops(predictions, targets, ids.tolist(), scale, bias)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)  # the learnt scale is held in float32


def test_it_is_torchs_binary_cross_entropy_over_all_pairs() -> None:
    predictions, targets = random_batch(3)
    scores = 10 * torch.nn.functional.normalize(predictions) @ torch.nn.functional.normalize(targets).T - 10
    reference = torch.nn.functional.binary_cross_entropy_with_logits(scores, torch.eye(8).double(), reduction="sum") / 8
    torch.testing.assert_close(run("siglip", predictions, targets).loss, reference, rtol=1e-6, atol=0)


def test_one_pair_at_its_start_by_hand() -> None:
    same = torch.tensor([[1.0, 0.0]])
    assert run("siglip", same, same).loss.item() == pytest.approx(math.log(2))  # 10 · 1 − 10 = 0
    assert run("siglip", -same, same).loss.item() == pytest.approx(20 + math.log1p(math.exp(-20)))


def test_rows_that_share_a_target_are_neither_positive_nor_negative() -> None:
    predictions, targets, ids = twin_batch(2)
    twin = run("siglip", predictions, targets, ids, initial_bias=0.0).loss
    assert twin < run("siglip", predictions, targets, initial_bias=0.0).loss
    one = torch.zeros(len(ids), dtype=torch.int64)
    predictions.requires_grad_()
    run("siglip", predictions, targets[:1].expand_as(targets), one).loss.backward()
    alone = predictions.grad
    assert alone is not None
    cosine = torch.nn.functional.cosine_similarity(predictions, targets[:1].expand_as(targets))
    expected = torch.autograd.grad(-torch.nn.functional.logsigmoid(10 * cosine - 10).mean(), predictions)
    torch.testing.assert_close(alone, expected[0], rtol=1e-5, atol=1e-9)


def test_scale_and_bias_are_learnt_and_logged() -> None:
    predictions, targets, ids = twin_batch(4, twins=1)
    module = module_of("siglip", targets, initial_scale=4.0, initial_bias=-2.0)
    assert {name: p.shape for name, p in module.named_parameters()} == {"log_scale": (), "bias": ()}
    output = module(predictions, targets, ids)
    assert float(output.parts["scale"]) == pytest.approx(4)
    assert float(output.parts["bias"]) == -2
    assert not any(part.requires_grad for part in output.parts.values())
    module.double()
    named = dict(module.named_parameters())

    def of(log_scale: Tensor, bias: Tensor) -> Tensor:
        values = {"log_scale": log_scale, "bias": bias}
        loss: Tensor = torch.func.functional_call(module, values, (predictions, targets, ids)).loss
        return loss

    assert torch.autograd.gradcheck(of, tuple(named.values()))
