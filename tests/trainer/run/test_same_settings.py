"""Checkpoints of another run are known by their settings."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.losses import LossConfig, TrainTargets
from losstune.trainer.run.resumed import CHANGEABLE, MOVED
from losstune.trainer.run.same_settings import check_settings
from tests.trainer.samples import refusal, sample_config

LAST = Path("last.pt")


class MarginConfig(LossConfig):
    name: ClassVar[str] = "margin_of_mine"
    margin: float = 0.2

    def build(self, train: TrainTargets) -> nn.Module:
        raise NotImplementedError


def small_model(input_shape: tuple[int, ...], output_dim: int, width: int = 8) -> nn.Module:
    raise NotImplementedError


def same(saved: dict[str, Any], config: TrainConfig) -> bool:
    return check_settings(saved, config, LAST) is None


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("lr", 0.5, "0.5"),
        ("seed", 7, "7"),
        ("temperature", 0.5, "0.5"),
        ("model.hidden_dim", 256, "256"),
        ("average_epochs", 2.0, "2.0"),
        ("loss_fn", "siglip", "siglip"),
    ],
)
def test_another_setting_is_another_run(name: str, value: object, shown: str) -> None:
    config = sample_config("infonce")
    assert refusal(check_settings, {**config.flat(), name: value}, config, LAST) == (
        f"checkpoint last.pt: of a run with other settings: {name} {shown} in it, {config.flat()[name]} here"
    )


def test_all_that_differs_is_named() -> None:
    saved = sample_config("infonce", lr=0.5, seed=3).flat()
    assert refusal(check_settings, saved, sample_config("infonce", lr=0.25, seed=4), LAST).endswith(
        "lr 0.5 in it, 0.25 here, seed 3 in it, 4 here"
    )


def test_what_a_resumed_run_may_change_is_the_same_run() -> None:
    config = sample_config(num_epochs=6)
    changed = {
        **{"num_epochs": 9, "patience": 3, "eval_batch": 7, "device": "cuda", "threads": 5},
        **{"data": "/moved/pairs.npz", "columns": "inputs=a", "schedule_epochs": 9},
    }
    assert changed.keys() == {*CHANGEABLE, MOVED}
    assert same({**config.flat(), **changed}, config)


def test_a_setting_that_is_younger_than_the_checkpoint_stood_at_its_default() -> None:
    saved = sample_config("infonce").flat()
    del saved["hardness"], saved["answers"]
    assert same(saved, sample_config("infonce"))
    assert refusal(check_settings, saved, sample_config("infonce", hardness=0.5), LAST).endswith(
        "hardness 0.0 in it, 0.5 here"
    )


def test_a_default_of_the_users_own_loss_is_its_authors_to_change() -> None:
    """A launch says that the file has changed, and goes on."""
    own = f"{__name__}:MarginConfig"
    config = sample_config(own)
    assert same({**config.flat(), "margin": 0.1}, config)
    assert same({**config.flat(), "dropped": 1}, config)
    assert refusal(check_settings, config.flat(), sample_config(own, margin=0.3), LAST).endswith(
        "margin 0.2 in it, 0.3 here"
    )


def test_so_is_one_of_the_users_own_model() -> None:
    own = {"model.factory": f"{__name__}:small_model"}
    config = TrainConfig.from_flat(own)
    assert same({**config.flat(), "model.width": 4}, config)
    assert refusal(check_settings, config.flat(), TrainConfig.from_flat({**own, "model.width": 16}), LAST).endswith(
        "model.width 8 in it, 16 here"
    )
    other = {**config.flat(), "model.factory": "another.module:model"}
    assert "model.factory another.module:model in it" in refusal(check_settings, other, config, LAST)
