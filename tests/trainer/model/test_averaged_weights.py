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


def by_numpy(recorded: list[npt.NDArray[Any]], time_constant: float) -> npt.NDArray[Any]:
    """The average as a sum over all steps: each step's share, and what later ones have left of it."""
    shares = [max(1 - math.exp(-1 / time_constant), 10 / (9 + t)) for t in range(1, len(recorded) + 1)]
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


@pytest.mark.parametrize("time_constant", [0.5, 7, 1000])
@pytest.mark.parametrize("steps", [1, 2, 60])
def test_it_is_that_of_numpy_over_all_steps(steps: int, time_constant: float) -> None:
    model = Tied()
    average = AveragedWeights(model, time_constant, None)
    found = recorded(model, average, steps)
    weights = average.weights()
    assert sorted(weights) == sorted(AVERAGED)
    for name, values in weights.items():
        expected = by_numpy([state[name] for state in found], time_constant)
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_packed_parameters_are_averaged_as_others_are() -> None:
    layer, packed = nn.Linear(5, 3), nn.Linear(5, 3)
    packed.load_state_dict(layer.state_dict())
    pack = Packed(list(packed.parameters()))
    averages = AveragedWeights(layer, 7, None), AveragedWeights(packed, 7, pack)
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
    average = AveragedWeights(model, 7, None)
    recorded(model, average, 12)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    averaged = {name: tensor.clone() for name, tensor in average.weights().items()}
    with average.in_place():
        for name, tensor in model.state_dict().items():
            expected = averaged[name].to(tensor.dtype) if name in averaged else before[name]
            assert torch.equal(tensor, expected), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in average.weights().items())


def test_before_the_first_step_the_model_s_own_weights_stand_for_it() -> None:
    model = Tied()
    before = model.first.weight.clone()
    with AveragedWeights(model, 7, None).in_place():
        assert torch.equal(model.first.weight, before)


def test_a_state_continues_to_the_same_bits() -> None:
    straight, again = Tied(), Tied()
    again.load_state_dict(straight.state_dict())
    one, other = AveragedWeights(straight, 7, None), AveragedWeights(again, 7, None)
    recorded(straight, one, 5)
    again.load_state_dict(straight.state_dict())
    state = {"model": straight.state_dict(), "average": one.state_dict()}
    other.load_state_dict(state["average"])
    assert all(torch.equal(evaluated_weights(state)[name], other.weights()[name]) for name in AVERAGED)
    for model, average in ((straight, one), (again, other)):
        recorded(model, average, 5, seed=1)
    assert all(torch.equal(one.weights()[name], other.weights()[name]) for name in AVERAGED)


def test_a_state_of_another_model_is_refused() -> None:
    average = AveragedWeights(nn.Linear(2, 2), 7, None)
    with pytest.raises(ValueError, match=r"averages of \['bias'\] where those of \['bias', 'weight'\] were expected"):
        average.load_state_dict({"steps": 3, "weights": {"bias": torch.zeros(2)}})


def test_a_state_without_averages_is_evaluated_by_its_weights() -> None:
    weight = torch.ones(2)
    assert evaluated_weights({"model": {"weight": weight}}) == {"weight": weight}
