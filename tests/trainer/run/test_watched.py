"""A run that diverges says where, whichever way it is trained, and trains to the same numbers."""

import math
import re
from inspect import getsourcelines
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.resident import resident_data
from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets
from losstune.trainer.run.loop import Trainer
from tests.trainer.run.test_gradients import several
from tests.trainer.run.test_loop import BREAKING
from tests.trainer.samples import sample_config, sample_pairs, timeless, train_to_end

DIVIDING = f"{__name__}:DividingConfig"
HERE = "tests/trainer/run/test_watched.py"
WILD = {"lr": 100.0, "clip_norm": None, "model.layer_norm": False, "model.depth": 9, "batch_size": 16}


class DividingConfig(LossConfig):
    """MSE that is divided by zero after some batches."""

    name: ClassVar[str] = "dividing"
    good_batches: int = 10

    def build(self, train: TrainTargets) -> LossModule:
        return DividingLoss(self.good_batches)


class DividingLoss(LossModule):
    def __init__(self, good_batches: int) -> None:
        super().__init__()
        self.left = good_batches

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        loss = (predictions - targets).square().mean()
        self.left -= self.training
        return LossOutput(loss / float(self.left >= 0), {})


class Deep(nn.Module):
    """Overflows in its second layer, once it is evaluated."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(input_shape[0], 8), nn.Linear(8, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).tanh()
        return self.second(y if self.training else (y * 1e30 * 1e30))


def trainer_of(loss_fn: str, *, debug_nan: bool = True, **settings: Any) -> Trainer:
    config = sample_config(loss_fn, **settings)
    return Trainer(config, resident_data(sample_pairs(), config, torch.device("cpu")), debug_nan=debug_nan)


def line_of(thing: Any, text: str) -> int:
    lines, start = getsourcelines(thing)
    return start + next(index for index, line in enumerate(lines) if text in line)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate": 2},
        {"batch_parts": 2},
        {"precision": "bfloat16"},
        {"center": True, "average_epochs": 1.0, "model.dropout": 0.3},
    ],
    ids=str,
)
def test_an_own_loss_that_divides_by_zero_is_told_by_its_line_and_batch(settings: dict[str, Any]) -> None:
    trainer = trainer_of(DIVIDING, batch_size=16, good_batches=10, **settings)
    train_to_end(trainer)  # 8 batches an epoch
    line = line_of(DividingLoss, "loss / float")
    assert trainer.end == "diverged"
    assert trainer.origin == f"first inf in `div` at {HERE}:{line} (DividingLoss.forward), in epoch 2, batch 3"


@pytest.mark.parametrize(
    ("loss_fn", "what", "where"),
    [
        ("mse", "first inf in `mse_loss`", "losses/mse.py"),
        ("huber", "first NaN in the gradient of `gelu`", "model/encoder.py"),
    ],
)
def test_what_is_trained_by_formulas_is_passed_by_autograd(loss_fn: str, what: str, where: str) -> None:
    trainer = trainer_of(loss_fn, **WILD)
    train_to_end(trainer)
    assert trainer.end == "diverged"
    assert trainer.origin.startswith(f"{what} at losstune/trainer/{where}:")


@pytest.mark.parametrize("settings", [{}, {"hard_negatives": 3}], ids=str)
def test_a_batch_is_passed_with_all_that_it_has(settings: dict[str, Any]) -> None:
    """Several right targets, negatives of each row's own; made in inference mode, which leaves no graph."""
    config = sample_config("infonce", batch_size=16, **settings)
    trainer = Trainer(config, resident_data(several(), config, torch.device("cpu")), debug_nan=True)
    with torch.no_grad():
        trainer.model.get_parameter("head.weight").fill_(3e38)
    trainer.run_epoch()
    assert re.fullmatch(
        r"first inf in `addmm` at losstune/trainer/model/encoder.py:\d+ \(Encoder.embed\), in model.head, "
        "in epoch 1, batch 1",
        trainer.origin,
    )


def test_validation_is_traced_where_training_met_nothing() -> None:
    config = TrainConfig.from_flat({"loss_fn": "mse", "model.factory": f"{__name__}:Deep", "device": "cpu"})
    trainer = Trainer(config, resident_data(sample_pairs(), config, torch.device("cpu")), debug_nan=True)
    trainer.run_epoch()
    line = line_of(Deep, "1e30 * 1e30")
    assert trainer.origin == f"first inf in `mul` at {HERE}:{line} (Deep.forward), validating after epoch 1"


def test_weights_that_a_step_made_infinite_are_named() -> None:
    trainer = trainer_of("mse", batch_size=16)
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(math.inf)
    trainer.run_epoch()
    told = "the step before made model.layers.0.0.weight not finite, by finite gradients, in epoch 1, batch 1"
    assert trainer.origin == told


def test_code_that_can_not_be_followed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no graph here")

    monkeypatch.setattr("losstune.trainer.run.watched.first_nonfinite", refuse)
    trainer = trainer_of(DIVIDING, batch_size=16, good_batches=0)
    trainer.run_epoch()
    assert (trainer.end, trainer.origin) == (
        "diverged",
        "not traced: RuntimeError: no graph here, in epoch 1, batch 1",
    )


@pytest.mark.parametrize(
    ("loss_fn", "settings"),
    [
        ("infonce", {"model.dropout": 0.3, "center": True, "average_epochs": 1.0}),
        ("cosine", {"accumulate": 2, "precision": "bfloat16"}),
        ("mse", WILD),
        (BREAKING, {"batch_size": 16, "good_batches": 12}),
        (DIVIDING, {"batch_size": 16, "good_batches": 12, "model.dropout": 0.5}),
    ],
)
def test_the_numbers_are_those_without(loss_fn: str, settings: dict[str, Any]) -> None:
    watched, plain = (trainer_of(loss_fn, debug_nan=debug, **settings) for debug in (True, False))
    assert repr(timeless(train_to_end(watched))) == repr(timeless(train_to_end(plain)))
    for one, other in zip(watched.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert plain.origin == ""


def test_a_run_that_is_read_again_still_knows_where() -> None:
    trainer = trainer_of(DIVIDING, batch_size=16, good_batches=0)
    trainer.run_epoch()
    again = trainer_of(DIVIDING, debug_nan=False, batch_size=16, good_batches=0)
    again.load_state(trainer.state())
    assert (again.end, again.origin) == ("diverged", trainer.origin)
