"""Options that several commands share; those of a study come from its settings, so there is no list of them here."""

import inspect
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from losstune.trainer.cli.field_options import given
from losstune.tuning.cli.app import app, check, launch
from losstune.tuning.cli.options import study_options
from losstune.tuning.space.settings import StudySettings

VALUES: dict[str, tuple[str | None, Any]] = {
    "objective": ("val/cosine_sim", "val/cosine_sim"),
    "max_epochs": ("9", 9),
    "grace_epochs": ("2", 2),
    "reduction_factor": ("4", 4),
    "sampler": ("random", "random"),
    "seed": ("7", 7),
    "epochs_per_loss": ("90", 90),
    "trials": ("5", 5),
    "race": (None, True),
    "eval_queries": ("2000", 2000),
    "split_by": ("inputs", "inputs"),
    "answers": ("own", "own"),
}


@pytest.mark.parametrize("name", StudySettings.model_fields)
def test_every_setting_of_a_study_is_an_option(name: str) -> None:
    received: dict[str, Any] = {}
    app = typer.Typer()

    @app.command(context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})
    @study_options
    def command(**settings: Any) -> None:
        received.update(given(settings))

    text, value = VALUES[name]
    for option in (f"--{name}", f"--{name.replace('_', '-')}"):
        received.clear()
        result = CliRunner().invoke(app, [option, *([text] if text else [])])
        assert result.exit_code == 0, result.output
        assert received == {name: value}


@pytest.mark.parametrize("command", [launch, check])
def test_launch_and_check_take_all_of_them(command: Any) -> None:
    assert set(StudySettings.model_fields) <= set(inspect.signature(command).parameters)


class AskedError(Exception):
    """Ends a command where it begins its work, with what it was asked to do."""


def ask(request: Any, *_: Any) -> None:
    raise AskedError(request)


@pytest.mark.parametrize(
    ("command", "worker"),
    [
        (["launch", "cosine", "--study", "one"], "losstune.tuning.commands.launch.launch"),
        (["check", "cosine"], "losstune.tuning.commands.check.check_request"),
        (["confirm", "one"], "losstune.tuning.commands.confirm.confirm"),
    ],
)
@pytest.mark.parametrize(("option", "wished"), [([], True), (["--no-system-metrics"], False)])
def test_what_trials_take_of_the_machine_is_told_unless_that_is_turned_off(
    command: list[str], worker: str, option: list[str], wished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, ask)
    ended = CliRunner().invoke(app, [*command, *option])
    assert isinstance(ended.exception, AskedError), ended.output
    assert ended.exception.args[0].execution.system_metrics is wished
