"""The average of weights: against plain NumPy over recorded weights, and what is in it of a model."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.model.averaged_weights import AveragedWeights, evaluated_weights
from losstune.trainer.model.packed import Packed


def by_numpy(recorded: list[npt.NDArray[Any]], epochs: float, steps: int) -> npt.NDArray[Any]:
    """The average as a sum over the steps that are taken in: the share of each, and what later ones have left of it."""
    every = max(1, math.floor(min(steps, epochs * steps) / 16))
    recorded = recorded[every - 1 :: every]
    shares = [max(1 - math.exp(-every / (epochs * steps)), 10 / (9 + i)) for i in range(1, len(recorded) + 1)]
    left = [math.prod(1 - later for later in shares[index + 1 :]) for index in range(len(shares))]
    weights = [share * rest for share, rest in zip(shares, left, strict=True)]
    assert math.fsum(weights) == pytest.approx(1)
    return sum(weight * values.astype(np.float64) for weight, values in zip(weights, recorded, strict=True))


class Tied(nn.Module):
    """A layer under two names, frozen weights, running moments, a buffer that is replaced, and one that is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.Linear(4, 3).requires_grad_(False)
        self.rough = nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("passing", torch.zeros(2), persistent=False)

    def step(self, generator: torch.Generator) -> None:
        """Move everything that training may move."""
        with torch.no_grad():
            for p in self.parameters():
                if p.requires_grad:
                    p.add_(torch.randn(p.shape, generator=generator).to(p.dtype))
        self.norm(torch.randn(8, 4, generator=generator))
        self.replaced = self.replaced + torch.randn(2, generator=generator)


AVERAGED = [
    *("rough", "replaced", "first.weight", "first.bias", "again.weight", "again.bias"),
    *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
]


def arrays(state: dict[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: tensor.detach().float().numpy().copy() for name, tensor in state.items()}


def recorded(model: Tied, average: AveragedWeights, steps: int, seed: int = 0) -> list[dict[str, npt.NDArray[Any]]]:
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        model.step(generator)
        average.update()
        found.append(arrays(model.state_dict()))
    return found


@pytest.mark.parametrize("epochs", [0.25, 1.0, 30.0])
@pytest.mark.parametrize(("steps", "done"), [(1, 1), (7, 1), (7, 60), (50, 3), (50, 201)])
def test_it_is_that_of_numpy_over_recorded_weights(steps: int, done: int, epochs: float) -> None:
    model = Tied()
    average = AveragedWeights(model, epochs, steps, None)
    found = recorded(model, average, done)
    weights = average.weights()
    assert sorted(weights) == sorted(AVERAGED)
    for name, values in weights.items():
        expected = by_numpy([state[name] for state in found], epochs, steps)
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_packed_parameters_are_averaged_as_others_are() -> None:
    layer, packed = nn.Linear(5, 3), nn.Linear(5, 3)
    packed.load_state_dict(layer.state_dict())
    pack = Packed(list(packed.parameters()))
    averages = AveragedWeights(layer, 0.7, 10, None), AveragedWeights(packed, 0.7, 10, pack)
    for step in range(20):
        for model, average in zip((layer, packed), averages, strict=True):
            with torch.no_grad():
                model.weight.add_(step)
                model.bias.mul_(0.9)
            average.update()
    one, other = (average.weights() for average in averages)
    assert one.keys() == other.keys() == {"weight", "bias"}
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_in_a_block_the_model_has_it_and_after_the_block_its_own_bits() -> None:
    model = Tied()
    average = AveragedWeights(model, 0.7, 10, None)
    recorded(model, average, 12)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    averaged = {name: tensor.clone() for name, tensor in average.weights().items()}
    with average.in_place():
        for name, tensor in model.state_dict().items():
            expected = averaged[name].to(tensor.dtype) if name in averaged else before[name]
            assert torch.equal(tensor, expected), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in average.weights().items())


@pytest.mark.parametrize("steps", [0, 1])
def test_before_there_is_one_the_model_s_own_weights_stand_for_it(steps: int) -> None:
    model = Tied()
    average = AveragedWeights(model, 1, 32, None)
    recorded(model, average, steps)
    before = model.first.weight.clone()
    with average.in_place():
        assert torch.equal(model.first.weight, before)


def test_a_state_continues_to_the_same_bits() -> None:
    straight, again = Tied(), Tied()
    again.load_state_dict(straight.state_dict())
    one, other = AveragedWeights(straight, 2, 40, None), AveragedWeights(again, 2, 40, None)
    recorded(straight, one, 5)
    again.load_state_dict(straight.state_dict())
    state = {"model": straight.state_dict(), "average": one.state_dict()}
    other.load_state_dict(state["average"])
    assert all(torch.equal(evaluated_weights(state)[name], other.weights()[name]) for name in AVERAGED)
    for model, average in ((straight, one), (again, other)):
        recorded(model, average, 5, seed=1)
    assert all(torch.equal(one.weights()[name], other.weights()[name]) for name in AVERAGED)


def test_a_state_of_another_model_is_refused() -> None:
    average = AveragedWeights(nn.Linear(2, 2), 1, 7, None)
    with pytest.raises(ValueError, match=r"averages of \['bias'\] where those of \['bias', 'weight'\] were expected"):
        average.load_state_dict({"steps": 3, "weights": {"bias": torch.zeros(2)}})


def test_a_state_without_averages_is_evaluated_by_its_weights() -> None:
    weight = torch.ones(2)
    assert evaluated_weights({"model": {"weight": weight}}) == {"weight": weight}
