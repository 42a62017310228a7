"""Parameters in one buffer: they stay what they are, in place."""

import pytest
import torch
from torch import nn

from losstune.trainer.model.packed import PLACE, Packed

SHAPES = [(16, 8), (3,), (), (5, 7)]


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packing_changes_no_value(dtype: torch.dtype) -> None:
    packed, plain = parameters(dtype), parameters(dtype)
    pack = Packed(packed)
    assert all(torch.equal(a, b) for a, b in zip(packed, plain, strict=True))
    assert pack.values.dtype == pack.gradients.dtype == dtype
    assert float(pack.values.double().abs().sum()) == pytest.approx(
        sum(p.detach().double().abs().sum().item() for p in plain)
    )


def test_values_and_gradients_are_views_of_the_buffers() -> None:
    packed = parameters()
    pack = Packed(packed)
    with torch.no_grad():
        pack.values.fill_(2)
        pack.gradients.fill_(3)
    for p in packed:
        assert p.grad is not None
        assert (p.eq(2).all(), p.grad.eq(3).all(), p.is_contiguous(), p.data_ptr() % (4 * PLACE)) == (1, 1, True, 0)


def test_a_parameter_that_is_loaded_stays_in_its_place() -> None:
    layer = nn.Linear(4, 3)
    pack = Packed([layer.weight, layer.bias])
    layer.load_state_dict(nn.Linear(4, 3).state_dict())
    assert torch.equal(pack.views(pack.values)[0], layer.weight)
    assert torch.equal(pack.views(pack.values)[1], layer.bias)


def test_places_do_not_touch() -> None:
    packed = parameters()
    pack = Packed(packed)
    for index, view in enumerate(pack.views(buffer := pack.zeros())):
        view.fill_(index + 1)
    assert [int((buffer == index + 1).sum()) for index in range(len(SHAPES))] == [p.numel() for p in packed]


def test_neighbours_have_a_span() -> None:
    packed = parameters()
    pack = Packed(packed)
    buffer = pack.zeros()
    buffer[pack.span(packed[1:3])] = 1
    assert [view.mean().item() for view in pack.views(buffer)] == [0, 1, 1, 0]
    with pytest.raises(ValueError, match=r"parameters \[0, 2\] of 4 are no neighbours"):
        pack.span([packed[0], packed[2]])
