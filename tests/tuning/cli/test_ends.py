"""What the ends of a launch and of a confirmation have in common."""

import json
import signal
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from losstune.trainer.base.signals import StopRequest
from losstune.tuning.cli.ends import leave, print_json


def stopped_by(signum: int) -> StopRequest:
    stop = StopRequest()
    stop.signum = signum
    return stop


def ended(stop: StopRequest | None = None, tracked: bool = True) -> Any:
    return SimpleNamespace(study=SimpleNamespace(spec=SimpleNamespace(name="first")), stopped=stop, tracked=tracked)


def test_an_object_says_how_the_command_ended_behind_what_it_has_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(ended(StopRequest()), {"study": "first"}, 1, ["losstune status first"], " --storage /here")
    assert list(json.loads(capsys.readouterr().out).items()) == [
        ("study", "first"),
        ("stopped", None),
        ("mlflow_complete", True),
        ("exit_code", 1),
        ("next", ["losstune status first"]),
    ]


def test_a_signal_has_its_name_and_what_mlflow_lacks_is_a_step_more(capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["losstune status first"]
    print_json(ended(stopped_by(signal.SIGTERM), tracked=False), {}, 143, steps, " --storage /here")
    told = json.loads(capsys.readouterr().out)
    assert (told["stopped"], told["mlflow_complete"]) == ("SIGTERM", False)
    assert told["next"] == [*steps, "losstune sync first --storage /here"]


@pytest.mark.parametrize(("tracked", "quiet"), [(True, True), (False, False), (True, False)])
def test_0_is_no_exit_of_its_own_and_says_nothing(
    tracked: bool, quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(ended(tracked=tracked), 0, "", quiet=quiet)
    assert capsys.readouterr() == ("", "")


def test_who_asked_for_quiet_hears_that_mlflow_lacks_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        leave(ended(tracked=False), 130, " --storage /here", quiet=True)
    assert left.value.exit_code == 130
    assert capsys.readouterr() == ("", "MLflow lacks a part of study first: losstune sync first --storage /here\n")
