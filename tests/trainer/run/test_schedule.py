"""The rate of a step, and what is said of schedules that can hardly be meant. What runs do with it is in test_loop."""

import math
from typing import Any

import pytest

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.schedule import idle_epochs, last_epoch, lr_at, schedule_notes


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.from_flat({"loss_fn": "mse", "lr": 0.01, **settings})


def test_a_rate_is_that_of_the_warm_up_then_of_the_cosine() -> None:
    warmed = config(schedule="cosine", num_epochs=6, warmup_epochs=2)
    found = [lr_at(warmed, position) for position in (0.5, 2, 4, 6, 9)]
    assert found == pytest.approx([0.0025, 0.01, 0.01 * (1 + math.cos(math.pi / 2)) / 2, 0, 0])
    assert lr_at(config(), 1e6) == 0.01


SCHEDULES: list[dict[str, Any]] = [
    {"num_epochs": 4},
    {"num_epochs": 4, "schedule_epochs": 2},
    {"num_epochs": 4, "schedule_epochs": 9},
    {"num_epochs": 4, "warmup_epochs": 3},
    {"num_epochs": 9, "schedule_epochs": 3, "warmup_epochs": 3},
    {"num_epochs": 9, "schedule_epochs": 3, "warmup_epochs": 5},
    {"num_epochs": 1},
]


@pytest.mark.parametrize("settings", SCHEDULES)
def test_after_its_last_epoch_every_rate_is_0_and_none_is_before(settings: dict[str, Any]) -> None:
    schedule = config(schedule="cosine", **settings)
    last = last_epoch(schedule)
    assert last is not None
    rates = [lr_at(schedule, step / 8) for step in range(1, 8 * (last + 3))]
    assert [rate > 0 for rate in rates] == [step < 8 * last for step in range(1, 8 * (last + 3))]


def test_a_constant_rate_has_no_last_epoch() -> None:
    assert last_epoch(config(schedule_epochs=2)) is None
    assert idle_epochs(config(schedule_epochs=2)) is None


@pytest.mark.parametrize(
    ("epochs", "text"),
    [
        (2, None),
        (3, "the cosine schedule ends with epoch 2: epoch 3 has a learning rate of 0"),
        (5, "the cosine schedule ends with epoch 2: epochs 3 to 5 have a learning rate of 0"),
    ],
)
def test_epochs_that_train_nothing_are_named(epochs: int, text: str | None) -> None:
    assert idle_epochs(config(schedule="cosine", schedule_epochs=2, num_epochs=epochs)) == text


@pytest.mark.parametrize(
    ("settings", "steps", "notes"),
    [
        ({"num_epochs": 3}, 1, []),
        ({"num_epochs": 3, "warmup_epochs": 2}, 1, []),
        ({"num_epochs": 3, "warmup_epochs": 2, "schedule": "cosine"}, 1, []),
        ({"num_epochs": 3, "schedule": "cosine", "schedule_epochs": 81}, 1, []),
        ({"num_epochs": 1, "schedule": "cosine"}, 2, []),
        (
            {"num_epochs": 3, "warmup_epochs": 5},
            9,
            ["a warm-up of 5 epochs in a run of 3: lr rises to 0.006, not to 0.01; --warmup_epochs may be smaller"],
        ),
        (
            {"num_epochs": 3, "warmup_epochs": 3, "schedule": "cosine"},
            9,
            [
                "the warm-up takes all 3 epochs of the run: only its last step has an lr of 0.01; "
                "--warmup_epochs may be smaller"
            ],
        ),
        (
            {"num_epochs": 1, "schedule": "cosine"},
            1,
            [
                "the cosine schedule is a single step, which has a learning rate of 0: nothing is trained; "
                "--schedule constant, or more epochs"
            ],
        ),
        (
            {"num_epochs": 5, "schedule": "cosine", "schedule_epochs": 2},
            9,
            [
                "the cosine schedule ends with epoch 2: epochs 3 to 5 have a learning rate of 0; "
                "--schedule_epochs 5 moves its end"
            ],
        ),
        (
            {"num_epochs": 5, "schedule": "cosine", "schedule_epochs": 2, "warmup_epochs": 3},
            9,
            [
                "the warm-up ends with epoch 3, the cosine schedule with epoch 2: lr falls from 0.01 to 0 within epoch "
                "4; --warmup_epochs may be smaller, or --schedule_epochs larger",
                "the cosine schedule ends with epoch 4: epoch 5 has a learning rate of 0; "
                "--schedule_epochs 5 moves its end",
            ],
        ),
    ],
)
def test_what_can_hardly_be_meant_is_said(settings: dict[str, Any], steps: int, notes: list[str]) -> None:
    assert schedule_notes(config(**settings), steps) == notes
