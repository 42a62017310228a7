"""The optimizer against torch's own, clipping included."""

import copy

import pytest
import torch
from torch import nn

from losstune.trainer.model.optimizer import ClippedAdamW
from losstune.trainer.model.packed import Packed


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(step))
    return 100 * model(inputs).square().mean()


@pytest.mark.parametrize("clip_norm", [None, 0.05, 1e9])
def test_equals_clip_grad_norm_and_fused_adamw(clip_norm: float | None) -> None:
    ours, theirs = network(), network()
    optimizer = ClippedAdamW(ours.parameters(), 0.1, clip_norm)
    matrices = [p for p in theirs.parameters() if p.ndim >= 2]
    others = [p for p in theirs.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, fused=True)
    for step in range(30):
        lr = 0.01 / (1 + step)
        for group in reference.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        reference.zero_grad()
        loss_of(ours, step).backward()
        loss_of(theirs, step).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
        optimizer.step(lr)
        reference.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("steps_in_packs", [False, True])
def test_a_parameter_that_has_no_gradient_at_times_moves_as_in_torch(steps_in_packs: bool) -> None:
    """As an expert that no row was sent to: of its own steps alone its moments are made."""
    ours, theirs = network(), network()
    rare, its = (nn.Parameter(torch.ones(2)) for _ in range(2))
    pack = packed(ours) if steps_in_packs else None
    optimizer = ClippedAdamW([*ours.parameters(), rare], 0.0, None, pack)
    reference = torch.optim.AdamW([*theirs.parameters(), its], lr=0.01, weight_decay=0.0, fused=True)
    for step in range(24):
        optimizer.zero_grad()
        reference.zero_grad()
        if pack is not None:
            pack.gradients.zero_()
            pack.written = True
        for model, parameter in ((ours, rare), (theirs, its)):
            seldom = (step + 1) * parameter.square().sum() if step >= 10 and step % 3 == 0 else 0.0
            (loss_of(model, step) + seldom).backward()
        optimizer.step(0.01)
        reference.step()
        if step == 15:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = ClippedAdamW([*ours.parameters(), rare], 0.0, None, pack)
            optimizer.load_state_dict(state)
        torch.testing.assert_close(rare, its, atol=1e-6, rtol=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_state_of_an_earlier_release_has_one_number_of_steps_for_a_group() -> None:
    straight, model = network(), network()
    train(straight, ClippedAdamW(straight.parameters(), 0.1, 1.0), None, range(6))
    first = ClippedAdamW(model.parameters(), 0.1, 1.0)
    train(model, first, None, range(3))
    state = copy.deepcopy(first.state_dict())
    for group in state["groups"]:
        group["steps"] = torch.tensor(3.0)
    then = ClippedAdamW(model.parameters(), 0.1, 1.0)
    then.load_state_dict(state)
    train(model, then, None, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), model.parameters(), strict=True))


def test_state_continues_bit_for_bit() -> None:
    straight, first = network(), network()
    whole = ClippedAdamW(straight.parameters(), 0.1, 1.0)
    half = ClippedAdamW(first.parameters(), 0.1, 1.0)
    for step in range(3):
        half.zero_grad()
        loss_of(first, step).backward()
        half.step(0.01)
    second = copy.deepcopy(first)
    rest = ClippedAdamW(second.parameters(), 0.1, 1.0)
    rest.load_state_dict(copy.deepcopy(half.state_dict()))
    for step in range(6):
        whole.zero_grad()
        loss_of(straight, step).backward()
        whole.step(0.01)
        if step >= 3:
            rest.zero_grad()
            loss_of(second, step).backward()
            rest.step(0.01)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), second.parameters(), strict=True))


def test_frozen_and_unused_parameters_stay() -> None:
    model, unused = network(), nn.Parameter(torch.ones(2))
    frozen = next(model.parameters()).requires_grad_(False)
    before = frozen.clone()
    optimizer = ClippedAdamW([*model.parameters(), unused], 0.1, 1.0)
    loss_of(model, 0).backward()
    optimizer.step(0.01)
    assert torch.equal(frozen, before)
    assert torch.equal(unused, torch.ones(2))


def packed(model: nn.Module) -> Packed:
    """Its parameters in one buffer, matrices before others."""
    return Packed(sorted(model.parameters(), key=lambda p: p.ndim < 2))


def train(model: nn.Module, optimizer: ClippedAdamW, pack: Packed | None, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        if pack is not None:
            pack.gradients.zero_()
            pack.written = True
        loss_of(model, step).backward()
        optimizer.step(0.01)


@pytest.mark.parametrize("clip_norm", [None, 0.05, 1e9])
def test_packs_move_as_single_parameters_do(clip_norm: float | None) -> None:
    single, together = network(), network()
    pack = packed(together)
    train(single, ClippedAdamW(single.parameters(), 0.1, clip_norm), None, range(30))
    train(together, ClippedAdamW(together.parameters(), 0.1, clip_norm, pack), pack, range(30))
    for a, b in zip(single.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("packed_first", "packed_then"), [(False, True), (True, False), (True, True)])
def test_a_state_is_the_same_whether_parameters_are_packed(packed_first: bool, packed_then: bool) -> None:
    """States of earlier releases are those of single parameters."""
    whole, first = network(), network()
    pack = packed(first) if packed_first else None
    before = ClippedAdamW(first.parameters(), 0.1, 0.05, pack)
    train(first, before, pack, range(3))
    state = copy.deepcopy(before.state_dict())
    assert [[tuple(m.shape) for m in group["first"]] for group in state["groups"]] == [
        [(8, 6), (3, 8)],
        [(8,), (8,), (8,), (3,)],
    ]
    then = network()
    then.load_state_dict(first.state_dict())
    pack = packed(then) if packed_then else None
    after = ClippedAdamW(then.parameters(), 0.1, 0.05, pack)
    after.load_state_dict(state)
    train(then, after, pack, range(3, 6))
    train(whole, ClippedAdamW(whole.parameters(), 0.1, 0.05), None, range(6))
    for a, b in zip(whole.parameters(), then.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_pack_without_gradients_in_a_step_stays_beside_one_that_moves() -> None:
    model, alone = network(), nn.Parameter(torch.ones(2))
    pack = packed(model)
    before = [p.clone() for p in model.parameters()]
    optimizer = ClippedAdamW([*model.parameters(), alone], 0.1, 1.0, pack)
    optimizer.zero_grad()
    alone.sum().backward()
    optimizer.step(0.01)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert not torch.equal(alone, torch.ones(2))
