"""A temperature that is learnt: the same numbers as a fixed one, its gradient, and CLIP's clamp."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from losstune.trainer.losses.temperature import Temperature
from tests.trainer.losses.reference import module_of, random_batch, run, twin_batch
from tests.trainer.samples import refusal, sample_config, sample_trainer

LEARNERS = ("infonce", "infonce_cosine", "full_softmax")


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_before_any_step_it_is_the_fixed_one(name: str, temperature: float) -> None:
    batch = twin_batch(0)
    fixed = run(name, *batch, temperature=temperature)
    learnt = run(name, *batch, temperature=temperature, learn_temperature=True)
    torch.testing.assert_close(learnt.loss, fixed.loss, rtol=1e-5, atol=1e-9)
    assert set(learnt.parts) - set(fixed.parts) == {"temperature"}
    assert float(learnt.parts["temperature"]) == pytest.approx(temperature)
    assert not learnt.parts["temperature"].requires_grad


@pytest.mark.parametrize("name", LEARNERS)
def test_its_gradient_is_that_of_finite_differences(name: str) -> None:
    predictions, targets, ids = twin_batch(1)
    module = module_of(name, targets, ids, temperature=0.5, learn_temperature=True).double()
    ((key, parameter),) = module.named_parameters()

    def of(log_scale: Tensor) -> Tensor:
        loss: Tensor = torch.func.functional_call(module, {key: log_scale}, (predictions, targets, ids)).loss
        return loss

    assert torch.autograd.gradcheck(of, (parameter,))


def test_cosines_are_scaled_by_at_most_100_and_can_come_back_from_there() -> None:
    learnt = Temperature(0.01, learnt=True)
    assert learnt.log_scale is not None
    with torch.no_grad():
        learnt.log_scale.add_(3)  # as a step of the optimizer may leave it
    scores = learnt(torch.ones(1, dtype=torch.float64))
    assert scores.item() == pytest.approx(100)
    assert float(learnt.parts()["temperature"]) == pytest.approx(0.01)
    scores.sum().backward()
    assert learnt.log_scale.grad is not None
    assert float(learnt.log_scale.grad) == pytest.approx(100)
    assert learnt.log_scale.item() == pytest.approx(math.log(100))


def test_a_start_that_the_clamp_would_not_leave_is_refused() -> None:
    message = "temperature 0.005: with learn_temperature it is 0.01 or more"
    assert refusal(sample_config, "infonce", temperature=0.005, learn_temperature=True) == message
    assert sample_config("infonce", temperature=0.005).flat()["temperature"] == 0.005
    with pytest.raises(ValidationError):
        module_of("infonce", random_batch(0)[1], learn_temperature=1)


@pytest.mark.parametrize("name", LEARNERS)
def test_training_moves_it_with_the_models_rate_and_without_decay(name: str) -> None:
    trainer = sample_trainer(sample_config(name, learn_temperature=True, temperature=0.5, lr=1e-2, batch_size=32))
    steps = math.ceil(len(trainer.data.train) / 32)
    moved = abs(math.log(trainer.run_epoch()["val/temperature"] / 0.5))
    assert 0.005 < moved < 1.1 * steps * 1e-2  # AdamW moves a parameter by about the rate in a step
    decayed = sample_trainer(sample_config(name, learn_temperature=True, temperature=0.5, lr=1e-7, weight_decay=100.0))
    assert decayed.run_epoch()["val/temperature"] == pytest.approx(0.5, rel=1e-5)
