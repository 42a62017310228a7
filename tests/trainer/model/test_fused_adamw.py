"""torch's private kernels are still what is made of them, and the plain ways beside them move the same."""

import ast
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.model.fused_adamw import AdamW, adamw_here, fused_adamw, plain_adamw, total_norm
from losstune.trainer.model.optimizer import ClippedAdamW
from tests.test_architecture import ROOT, sources

SHAPES = [(16, 8), (16,), (3, 16), ()]


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    adamw_here.cache_clear()
    yield
    adamw_here.cache_clear()


def random_tensors(seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator) for shape in SHAPES]


def moved(step: AdamW, steps: int, scale: Tensor | None, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Parameters and moments after so many steps with gradients of very different sizes."""
    parameters = [tensor.to(dtype) for tensor in random_tensors(0)]
    first, second = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
    taken = torch.zeros(())
    for number in range(steps):
        taken += 1
        gradients = [tensor.to(dtype) for tensor in random_tensors(1 + number, scale=10.0 ** (number % 5 - 3))]
        step(parameters, gradients, first, second, [taken] * len(parameters), lr=0.01, weight_decay=0.1, scale=scale)
    assert taken == steps, "steps are counted by the caller"
    return parameters + first + second


def test_this_torch_has_the_fused_kernel_as_it_is_used() -> None:
    """The tests of speed and the numbers of earlier studies rest on it: read what has changed before this is."""
    assert adamw_here() is fused_adamw
    arguments = [one.name for one in torch.ops.aten._fused_adamw_.default._schema.arguments]
    assert arguments == [
        "self", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "state_steps", "lr", "beta1", "beta2",
        "weight_decay", "eps", "amsgrad", "maximize", "grad_scale", "found_inf",
    ]  # fmt: skip


@pytest.mark.parametrize("scale", [None, 1.0, 37.5])
def test_the_plain_steps_are_the_fused_ones_but_for_rounding(scale: float | None) -> None:
    by = None if scale is None else torch.tensor(scale)
    for plain, fused in zip(moved(plain_adamw, 50, by), moved(fused_adamw, 50, by), strict=True):
        torch.testing.assert_close(plain, fused, atol=1e-6, rtol=1e-5)


def test_the_first_step_is_that_of_the_paper() -> None:
    """Against the formula, in float64: after one step the moments' corrections leave g / (|g| + eps)."""
    for step in (plain_adamw, fused_adamw):
        new = moved(step, 1, torch.tensor(4.0))[: len(SHAPES)]
        for p, g, found in zip(random_tensors(0), random_tensors(1, scale=1e-3), new, strict=True):
            gradient = g.double() / 4
            expected = p.double() * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-8)
            torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)


def absent(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(torch, "_fused_adamw_")


def with_another_signature(patch: pytest.MonkeyPatch) -> None:
    def changed(self: Any, grads: Any, exp_avgs: Any, exp_avg_sqs: Any, state_steps: Any, *, options: Any) -> None:
        raise AssertionError("never called with these")

    patch.setattr(torch, "_fused_adamw_", changed)


def with_another_meaning(patch: pytest.MonkeyPatch) -> None:
    original: Callable[..., None] = torch._fused_adamw_

    def changed(*tensors: Any, grad_scale: Tensor | None, **options: Any) -> None:
        original(*tensors, grad_scale=None if grad_scale is None else 1 / grad_scale, **options)

    patch.setattr(torch, "_fused_adamw_", changed)


@pytest.mark.parametrize("change", [absent, with_another_signature, with_another_meaning])
def test_where_the_kernel_is_another_training_goes_on_with_the_plain_step(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch)
    assert adamw_here() is plain_adamw


def trained(steps: int, clip_norm: float | None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = ClippedAdamW(model.parameters(), 0.1, clip_norm)
    for number in range(steps):
        optimizer.zero_grad()
        inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(number))
        (100 * model(inputs).square().mean()).backward()
        optimizer.step(0.01)
    return model


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_model_trains_the_same_without_either_private_part(
    clip_norm: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = trained(30, clip_norm)
    monkeypatch.delattr(torch, "_fused_adamw_")
    monkeypatch.delattr(torch, "_foreach_norm")
    adamw_here.cache_clear()
    plain = trained(30, clip_norm)
    for a, b in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
        assert not torch.equal(a, torch.zeros_like(a))


@pytest.mark.parametrize("private", [True, False])
def test_the_norm_is_that_of_all_gradients_together(private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not private:
        monkeypatch.delattr(torch, "_foreach_norm")
    gradients = random_tensors(3)
    expected = torch.cat([gradient.double().flatten() for gradient in gradients]).norm()
    torch.testing.assert_close(total_norm(gradients).double(), expected, atol=0, rtol=1e-6)


def private_uses(source: str) -> list[str]:
    """Names that begin with an underscore and are read from torch, or from what stands for it."""
    return [
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("torch", "_TORCH")
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    ]


def test_private_parts_of_torch_have_two_modules() -> None:
    using = {path.relative_to(ROOT).as_posix(): uses for path in sources() if (uses := private_uses(path.read_text()))}
    assert using == {
        "trainer/model/fused_adamw.py": ["_fused_adamw_", "_foreach_norm", "_foreach_lerp_"],
        "trainer/run/first_nonfinite.py": ["_C"],
    }
