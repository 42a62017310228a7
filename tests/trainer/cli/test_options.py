"""Command-line options: one per setting of every loss, none with a default of its own."""

import types
import typing
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from losstune.trainer.cli.field_options import given
from losstune.trainer.cli.options import config_options, option_value
from losstune.trainer.config.loss_registry import loss_config_class, loss_names
from losstune.trainer.config.train_config import TrainConfig, flat_fields
from tests.conftest import Command

VALUES: dict[str, tuple[str | None, Any]] = {
    "loss_fn": ("mse", "mse"),
    "data": ("a.npz", "a.npz"),
    "batch_size": ("64", 64),
    "accumulate": ("4", 4),
    "batch_parts": ("2", 2),
    "num_epochs": ("7", 7),
    "lr": ("5e-4", 5e-4),
    "weight_decay": ("0", 0.0),
    "clip_norm": ("2.5", 2.5),
    "schedule": ("cosine", "cosine"),
    "warmup_epochs": ("3", 3),
    "schedule_epochs": ("9", 9),
    "average_epochs": ("1.5", 1.5),
    "matryoshka_dims": ("8,16", "8,16"),
    "matryoshka_weights": ("1,0.5", "1,0.5"),
    "objective": ("val/cosine_sim", "val/cosine_sim"),
    "patience": ("4", 4),
    "fit": ("train+val", "train+val"),
    "center": (None, True),
    "columns": ("inputs=anchor", "inputs=anchor"),
    "eval_queries": ("2000", 2000),
    "split_by": ("inputs", "inputs"),
    "answers": ("own", "own"),
    "eval_batch": ("100", 100),
    "precision": ("bfloat16", "bfloat16"),
    "device": ("cpu", "cpu"),
    "threads": ("1", 1),
    "seed": ("5", 5),
    "split_seed": ("6", 6),
    "cosine_weight": ("0.8", 0.8),
    "mse_weight": ("0.2", 0.2),
    "temperature": ("0.05", 0.05),
    "learn_temperature": (None, True),
    "symmetric": (None, True),
    "decoupled": (None, True),
    "hardness": ("0.5", 0.5),
    "guide_margin": ("0.2", 0.2),
    "target_temperature": ("0.2", 0.2),
    "hard_negatives": ("4", 4),
    "hard_negatives_every": ("2", 2),
    "hard_negatives_sample": ("512", 512),
    "hard_negatives_skip": ("3", 3),
    "margin": ("0.3", 0.3),
    "negatives": ("semi_hard", "semi_hard"),
    "similarity_weight": ("0.5", 0.5),
    "initial_scale": ("5", 5.0),
    "initial_bias": ("-3.5", -3.5),
    "delta": ("0.1", 0.1),
    "model.hidden_dim": ("128", 128),
    "model.depth": ("0", 0),
    "model.residual": (None, True),
    "model.dropout": ("0.1", 0.1),
    "model.layer_norm": (None, True),
    "model.standardize": (None, True),
}


def parse(*arguments: str) -> dict[str, Any]:
    """The settings that a command made by ``config_options`` receives."""
    received: dict[str, Any] = {}
    app = typer.Typer()

    @app.command(context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})
    @config_options
    def command(**settings: Any) -> None:
        received.update(given(settings))

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return received


def test_there_is_a_value_here_for_every_setting_of_every_loss() -> None:
    names = {name for loss in loss_names() for name in flat_fields(loss_config_class(loss))}
    assert set(VALUES) == {"loss_fn", *names}


@pytest.mark.parametrize("name", VALUES)
def test_every_setting_has_an_option_with_dashes_and_with_underscores(name: str) -> None:
    text, value = VALUES[name]
    for option in {f"--{name}", f"--{name.replace('_', '-')}", f"--{name.removeprefix('model.')}"}:
        assert parse(option, *([text] if text else [])) == {name: value}


@pytest.mark.parametrize("name", ["symmetric", "center", "model.residual", "model.layer_norm", "model.standardize"])
def test_a_switch_can_be_turned_off(name: str) -> None:
    for option in {f"--no-{name}", f"--no-{name.removeprefix('model.')}"}:
        assert parse(option) == {name: False}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("train --loss_fn mse --lr 1", "mse"),
        ("train --lr 1 --loss-fn=mse", "mse"),
        ("train --loss-fn mse --loss_fn cosine", "cosine"),
        ("train --loss-fn a.b:C=d", "a.b:C=d"),
        ("train --loss-fn", None),
        ("train --loss mse", None),
        ("", None),
    ],
)
def test_an_options_value_is_found_before_anything_is_parsed(line: str, value: str | None) -> None:
    assert option_value(line.split(), "--loss-fn") == value


def nullable() -> list[str]:
    known = {name: field for loss in loss_names() for name, field in flat_fields(loss_config_class(loss)).items()}
    return [name for name, field in known.items() if types.NoneType in typing.get_args(field.info.annotation)]


def test_every_setting_whose_help_speaks_of_null_takes_it() -> None:
    assert set(nullable()) >= {"clip_norm", "patience", "average_epochs", "target_temperature", "threads", "columns"}


@pytest.mark.parametrize("name", nullable())
def test_a_setting_that_may_be_none_takes_null(name: str) -> None:
    assert parse(f"--{name}", "null") == {name: None}


def test_what_is_not_given_is_left_to_the_config() -> None:
    assert parse() == {}


@pytest.mark.parametrize("loss_fn", loss_names())
def test_help_shows_the_configs_own_defaults(loss_fn: str) -> None:
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @config_options
    def command(**settings: Any) -> None:
        """Nothing."""

    output = CliRunner().invoke(app, ["--help"], terminal_width=400).output
    helps = {block.split()[0].strip(",").split("/")[0]: " ".join(block.split()) for block in output.split("\n  --")}
    for name, default in TrainConfig.from_flat({"loss_fn": loss_fn}).flat().items():
        if name not in ("batch_size", "lr", "split_by", "answers"):  # these say their own
            shown = "null" if default is None else "cosine" if name == "loss_fn" else default
            assert helps[name.replace("_", "-")].endswith(f"(default: {shown})")


def test_limits_and_defaults_are_in_the_help_that_is_printed(
    losstune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    printed = losstune("train", "--help").out
    assert "epochs to train at most  (>= 1 and <= 1e+06)  (default: 300)" in printed
    assert "(auto, cpu, cuda)  (default: auto)" in printed
