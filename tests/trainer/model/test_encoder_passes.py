"""The encoder's own passes: against autograd, against finite differences, and with what comes of adding up."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from losstune.trainer.config.model_config import ModelConfig
from losstune.trainer.data.columns import moments_of
from losstune.trainer.model.encoder import Encoder
from losstune.trainer.model.encoder_passes import EncoderPasses

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(9, 2, 3, generator=GENERATOR, dtype=torch.float64) * 3 + 7
UPSTREAM = torch.randn(9, 4, generator=GENERATOR, dtype=torch.float64)

SHAPES = [
    {"depth": depth, "residual": residual, "layer_norm": layer_norm, "dropout": dropout, "standardize": depth != 1}
    for depth, residual, layer_norm, dropout in itertools.product((0, 1, 3), (False, True), (False, True), (0.0, 0.4))
]


def encoder(dtype: torch.dtype = torch.float64, **settings: Any) -> Encoder:
    torch.manual_seed(0)
    model = Encoder(ModelConfig.model_validate({"hidden_dim": 8, **settings}), (2, 3), 4)
    model.fit_inputs(moments_of(INPUTS))
    with torch.no_grad():
        for parameter in model.parameters():  # else a norm's own begin at 1 and 0
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.to(dtype).train()


def passed(model: Encoder, inputs: Tensor, seed: int = 1) -> tuple[Tensor, list[Tensor]]:
    """Embeddings and gradients by the encoder's own passes."""
    passes = EncoderPasses(model)
    torch.manual_seed(seed)
    embeddings = passes.forward(passes.prepared(inputs))
    passes.backward(UPSTREAM.to(embeddings.dtype))
    return embeddings, [view.clone() for view in passes.pack.views(passes.pack.gradients)]


@pytest.mark.parametrize("settings", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_they_are_those_of_autograd(settings: dict[str, Any], dtype: torch.dtype) -> None:
    model = encoder(dtype, **settings)
    plain = copy.deepcopy(model)
    embeddings, gradients = passed(model, INPUTS.to(dtype))
    torch.manual_seed(1)
    expected = plain(INPUTS.to(dtype))
    expected.backward(UPSTREAM.to(dtype))
    torch.testing.assert_close(embeddings, expected.detach())
    ordered = sorted(plain.parameters(), key=lambda p: p.ndim < 2)
    assert len(gradients) == len(ordered)
    for found, parameter in zip(gradients, ordered, strict=True):
        torch.testing.assert_close(found, parameter.grad)


@pytest.mark.parametrize("settings", [s for s in SHAPES if s["dropout"] == 0], ids=str)
def test_gradients_are_those_of_finite_differences(settings: dict[str, Any]) -> None:
    model = encoder(**settings)
    _, gradients = passed(model, INPUTS)
    ordered = sorted(model.parameters(), key=lambda p: p.ndim < 2)
    with torch.no_grad():
        for parameter, gradient in zip(ordered, gradients, strict=True):
            place = int(torch.randint(parameter.numel(), (), generator=GENERATOR))
            values, ends = parameter.view(-1), []
            for step in (1e-6, -1e-6):
                before = values[place].clone()
                values[place] += step
                ends.append(float((model(INPUTS) * UPSTREAM).sum()))
                values[place] = before
            assert float(gradient.flatten()[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


def test_gradients_of_one_step_add_up_and_a_new_step_begins_anew() -> None:
    passes = EncoderPasses(encoder(depth=2))
    found = []
    for begins_anew in (True, False, True):
        if begins_anew:
            passes.pack.written = False
        passes.forward(passes.prepared(INPUTS))
        passes.backward(UPSTREAM)
        found.append(passes.pack.gradients.clone())
    once, twice, again = found
    torch.testing.assert_close(twice, 2 * once)
    assert torch.equal(again, once)


def test_what_stood_there_before_a_step_does_not_count_even_if_it_is_not_finite() -> None:
    model = encoder(depth=2)
    expected = passed(copy.deepcopy(model), INPUTS)[1]
    passes = EncoderPasses(model)
    passes.pack.gradients.fill_(float("nan"))
    passes.forward(passes.prepared(INPUTS))
    passes.backward(UPSTREAM)
    found = passes.pack.views(passes.pack.gradients)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
