"""Where a NaN or an infinity arises, in either pass, and what is no mistake by itself."""

from collections.abc import Callable
from inspect import getsourcelines

import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.losses import unit
from losstune.trainer.run.first_nonfinite import first_nonfinite

X = torch.tensor([[0.0, 4.0], [1.0, 9.0]])
Formula = Callable[[Tensor], Tensor]


def overflow(x: Tensor) -> Tensor:
    return (x * 1000).exp().sum()


def by_nothing(x: Tensor) -> Tensor:
    return x / (x.sum() * 0)


def later(x: Tensor) -> Tensor:
    y = (x * 1000).exp()
    return y - y


def hidden_in_one_pass(x: Tensor) -> Tensor:
    return torch.where(x > 0, x.sqrt(), 0.0)


def all_masked(x: Tensor) -> Tensor:
    y = x.masked_fill(x >= 0, -torch.inf)
    return y.softmax(1)


def outside(x: Tensor) -> Tensor:
    return x + torch.tensor(float("inf"))


def in_place(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[0] = (x * 1000).exp()[1]
    return y


def ours(x: Tensor) -> Tensor:
    return unit(x * torch.tensor(1e30) * 1e30)


def own_backward(x: Tensor) -> Tensor:
    result: Tensor = Halved.apply(x)  # type: ignore[no-untyped-call]
    return result


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x / 2

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient / 0


def line_of(function: Callable[..., object], index: int) -> int:
    return getsourcelines(function)[1] + index


def both_passes(formula: Formula) -> list[Tensor]:
    x = X.clone().requires_grad_()
    y = formula(x)
    y.sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad]


@pytest.mark.parametrize(
    ("formula", "found", "function", "index"),
    [
        (overflow, "first inf in `exp`", overflow, 1),
        (by_nothing, "first NaN in `div`", by_nothing, 1),
        (later, "first inf in `exp`", later, 1),
        (hidden_in_one_pass, "first NaN in the gradient of `sqrt`", hidden_in_one_pass, 1),
        (all_masked, "first NaN in `softmax`", all_masked, 2),
        (outside, "inf put in by `add`", outside, 1),
        (in_place, "first inf in `exp`", in_place, 2),
        (ours, "first inf in `mul`", ours, 1),
        (own_backward, "first inf in the gradient of `halved`", Halved.backward, 2),
    ],
)
def test_the_operation_and_the_line_are_told(
    formula: Formula, found: str, function: Callable[..., object], index: int
) -> None:
    origin = first_nonfinite(lambda: both_passes(formula), {})
    here = "tests/trainer/run/test_first_nonfinite.py"
    assert str(origin) == f"{found} at {here}:{line_of(function, index)} ({function.__qualname__})"


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: x,
        lambda x: torch.where(x > 0, (x * 1000).exp(), x).clamp(max=1.0),
        lambda x: x.masked_fill(x == 0, -torch.inf).softmax(1),
        lambda x: x.masked_fill(x == 0, -torch.inf).logsumexp(1),
    ],
    ids=["finite", "replaced", "masked", "masked sums"],
)
def test_an_infinity_that_harms_nothing_is_none(formula: Formula) -> None:
    with torch.no_grad():
        assert first_nonfinite(lambda: [formula(X)], {}) is None


def test_what_is_read_as_a_number_counts() -> None:
    def read() -> list[Tensor]:
        float(overflow(X))
        return []

    assert str(first_nonfinite(read, {})).startswith("first inf in `exp`")


def test_a_layer_is_told_by_its_name() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Identity(), nn.Linear(3, 1)))
    with torch.no_grad():
        model[1][1].weight.fill_(3e38)
        model[0].weight.fill_(3e38)
        model[0].weight[:, 0] = 1
    origin = first_nonfinite(lambda: [model(X)], {"model": model})
    assert str(origin).startswith("first inf in `addmm` at tests/")
    assert str(origin).endswith(", in model.0")


def test_its_numbers_are_those_of_the_same_without() -> None:
    traced: list[Tensor] = []

    def work() -> list[Tensor]:
        traced.extend(both_passes(hidden_in_one_pass))
        return traced

    first_nonfinite(work, {})
    for one, other in zip(traced, both_passes(hidden_in_one_pass), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
