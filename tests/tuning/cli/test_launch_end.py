"""How a launch ends: words, one object of JSON, exit codes. No Ray: the work before it is replaced."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.signals import StopRequest
from losstune.tuning.commands import launch as commands_launch
from losstune.tuning.commands.launch import Outcome as Launched
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import Ending
from tests.conftest import Command, Outcome
from tests.tuning.cli.test_ends import stopped_by
from tests.tuning.reported import point_of, searched

LAUNCH = ("launch", "infonce", "--study", "study")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next launch end so, with one line of its progress."""

    def ends(study: Study, stop: StopRequest | None = None, tracked: bool = True) -> None:
        def launch(_: object, console: Console) -> Launched:
            say(console, "in progress")
            return Launched(study, stop or StopRequest(), tracked)

        monkeypatch.setattr(commands_launch, "launch", launch)

    return ends


def in_vain(study: Study) -> None:
    own = LossTrials(study.storage(), "cosine", study.spec.search_spaces()["cosine"])
    for number in range(3):
        own.add(point_of("cosine", 0.5, number), seed=number)
        own.end(number, Ending("failed", "no such file" if number else "its worker died", 0, None, 0))


def test_a_launch_of_which_something_came_ends_with_0_though_mlflow_lags(losstune: Command, launched: Any) -> None:
    """One trial of each loss diverged, and one failed."""
    launched(searched(Path.cwd(), (4, 4)), tracked=False)
    assert losstune(*LAUNCH) == Outcome(0, "in progress\nNext: losstune confirm study    losstune ui\n", "")


def test_a_launch_in_which_no_trial_of_a_loss_succeeded_ends_with_1_and_says_why(
    losstune: Command, launched: Any
) -> None:
    study = searched(Path.cwd(), (4, 0))
    in_vain(study)
    launched(study)
    ended = losstune(*LAUNCH)
    assert (ended.code, ended.out) == (1, "in progress\nNext: losstune confirm study    losstune ui\n")
    assert ended.err == (
        "error: no trial of cosine succeeded: no such file (2 trials of cosine); its worker died (1 trial of cosine); "
        "once the cause is mended, the same command with --retry-failed tries failed trials again\n"
    )
    status = " ".join(losstune("status", "study").out.split())
    assert "Without a value: no such file (2 trials of cosine); diverged (1 trial of infonce); other reasons" in status


def test_a_launch_in_which_nothing_succeeded_names_no_next_step(losstune: Command, launched: Any) -> None:
    study = searched(Path.cwd(), (0, 0))
    in_vain(study)
    launched(study)
    assert losstune(*LAUNCH).out == "in progress\nNext: losstune confirm study    losstune ui\n"  # infonce is untried
    study = searched(Path.cwd() / "other", (0, 0))
    launched(study)
    in_vain(study)
    told = json.loads(losstune(*LAUNCH, "--json").out)
    assert told["exit_code"] == 1


def test_json_of_a_launch_is_all_that_standard_output_gets(losstune: Command, launched: Any) -> None:
    launched(searched(Path.cwd(), (4, 1)), tracked=False)
    ended = losstune(*LAUNCH, "--json")
    assert (ended.code, ended.err) == (0, "in progress\n")
    told = json.loads(ended.out)
    assert told.keys() == {
        *("study", "losses", "best", "dropped"),
        *("stopped", "mlflow_complete", "exit_code", "next"),
    }
    infonce = told["losses"]["infonce"]
    assert infonce["reasons"] == {
        "complete": {"used its epochs": 2},
        "pruned": {"diverged": 1},
        "failed": {"ValueError: <script>window.hacked = 1</script>": 1},
    }
    assert (infonce["complete"], infonce["pruned"], infonce["failed"], infonce["epochs"]) == (2, 1, 1, 22)
    best = {**infonce["best"], "loss": "infonce", "loss_fn": "infonce"}
    assert (told["study"], told["best"], told["stopped"]) == ("study", best, None)
    assert (told["mlflow_complete"], told["exit_code"]) == (False, 0)
    assert told["next"] == ["losstune confirm study", "losstune sync study"]


def test_json_of_a_launch_that_a_signal_stopped(losstune: Command, launched: Any) -> None:
    study = searched(Path.cwd(), (4, 0))
    in_vain(study)
    launched(study, stopped_by(signal.SIGTERM))
    ended = losstune(*LAUNCH, "--json", "--quiet")
    assert (ended.code, ended.err) == (143, "Stopped; the same command continues study study\n")
    told = json.loads(ended.out)
    assert (told["stopped"], told["exit_code"]) == ("SIGTERM", 143)
    assert told["next"] == ["losstune launch --study study"]


def test_quiet_leaves_errors_alone(losstune: Command, launched: Any) -> None:
    study = searched(Path.cwd(), (4, 1))
    launched(study)
    assert losstune(*LAUNCH, "--quiet") == Outcome(0, "", "")
    launched(study, tracked=False)
    lags = "MLflow lacks a part of study study: losstune sync study\n"
    assert losstune(*LAUNCH, "--quiet") == Outcome(0, "", lags)


def test_what_comes_next_goes_to_the_same_store_of_mlflows(losstune: Command, launched: Any) -> None:
    """A server has a UI of its own."""
    launched(searched(Path.cwd(), (4, 1)), tracked=False)
    elsewhere, server = ("--tracking-uri", "sqlite:///runs.db"), ("--tracking-uri", "http://me:secret@mlflow")
    next_steps = "Next: losstune confirm study --tracking-uri {}    losstune ui --tracking-uri {}"
    assert losstune(*LAUNCH, *elsewhere).out.splitlines()[1] == next_steps.format(*2 * ["sqlite:///runs.db"])
    shown = "--tracking-uri 'http://me:***@mlflow'"
    assert losstune(*LAUNCH, *server).out.splitlines()[1] == f"Next: losstune confirm study {shown}"
    told = json.loads(losstune(*LAUNCH, *server, "--json").out)
    assert told["next"] == [f"losstune confirm study {shown}", f"losstune sync study {shown}"]
    launched(searched(Path.cwd() / "stopped", (1, 0)), stopped_by(signal.SIGTERM))
    told = json.loads(losstune(*LAUNCH, *elsewhere, "--json").out)
    assert told["next"] == ["losstune launch --study study --tracking-uri sqlite:///runs.db"]
