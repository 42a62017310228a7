"""How launch and confirm end: words, one object of JSON, exit codes. No Ray: the work before it is replaced."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.signals import StopRequest
from losstune.tuning.commands import confirm as commands_confirm
from losstune.tuning.commands import launch as commands_launch
from losstune.tuning.commands.confirm import Confirmed
from losstune.tuning.commands.launch import Outcome as Launched
from losstune.tuning.confirm.plan import make_plan, plans, save_plan
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import Ending
from tests.conftest import Command, Outcome
from tests.tuning.reported import confirmed, point_of, searched

LAUNCH = ("launch", "infonce", "--study", "study")


def stopped_by(signum: int) -> StopRequest:
    stop = StopRequest()
    stop.signum = signum
    return stop


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next launch end so, with one line of its progress."""

    def ends(study: Study, stop: StopRequest | None = None, tracked: bool = True) -> None:
        def launch(_: object, console: Console) -> Launched:
            say(console, "in progress")
            return Launched(study, stop or StopRequest(), tracked)

        monkeypatch.setattr(commands_launch, "launch", launch)

    return ends


@pytest.fixture
def confirmation(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next confirmation end so, with one line of its progress."""

    def ends(study: Study, stop: StopRequest | None = None) -> None:
        def confirm(_: object, console: Console) -> Confirmed:
            say(console, "in progress")
            return Confirmed(study, list(plans(study))[-1], stop or StopRequest(), tracked=True)

        monkeypatch.setattr(commands_confirm, "confirm", confirm)

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
    assert (told["study"], told["best"], told["stopped"]) == ("study", infonce["best"], None)
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
    lags = "MLflow lacks a part of study study; losstune sync brings it\n"
    assert losstune(*LAUNCH, "--quiet") == Outcome(0, "", lags)


def test_a_confirmation_ends_with_its_answer_and_what_comes_next(losstune: Command, confirmation: Any) -> None:
    confirmation(confirmed(searched(Path.cwd(), (3, 3))))
    ended = losstune("confirm", "study")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "in progress"
    assert lines[1].startswith("• infonce (infonce-0000) is the choice: test MRR ")
    assert lines[-1].startswith("Next: losstune report study --output report.html    losstune export study ")
    assert losstune("confirm", "study", "--quiet") == Outcome(0, "", "")


def test_json_of_a_confirmation_has_the_answer(losstune: Command, confirmation: Any) -> None:
    confirmation(confirmed(searched(Path.cwd(), (3, 3))))
    ended = losstune("confirm", "study", "--json")
    assert ended.err.startswith("in progress\n• infonce (infonce-0000) is the choice")
    told = json.loads(ended.out)
    compared = json.loads(losstune("compare", "study", "--json").out)
    assert told["answer"] == compared["answer"]
    (pick,) = [row for row in compared["rows"] if (row["role"], row["loss_fn"]) == ("pick", compared["winner"])]
    assert told["best"] == {"trial": pick["name"], "loss": "infonce", "loss_fn": "infonce", "value": pick["validation"]}
    assert (told["confirmation"], told["seeds"]) == (1, 10)
    assert told["settings"]["infonce-0000"] == {"epochs": 10}
    assert [step.split()[1] for step in told["next"]] == ["report", "export"]


def test_json_of_a_confirmation_has_what_stopped_early_and_why(losstune: Command, confirmation: Any) -> None:
    confirmation(confirmed(searched(Path.cwd(), (3, 3)), top=1, early=True))
    told = json.loads(losstune("confirm", "study", "--early", "--json").out)
    assert told["settings"]["cosine-0000"] == {"epochs": 4}
    assert told["stopped_early"]["cosine-0000"] == {"seeds": 4, "lost_to": "infonce-0000"}
    assert "infonce-0000" not in told["stopped_early"]
    assert "Clearly beaten on val/mrr, and trained no further: " in " ".join(told["answer"])


def test_a_confirmation_that_a_signal_stopped(losstune: Command, confirmation: Any) -> None:
    study = searched(Path.cwd(), (3, 3))
    save_plan(study, make_plan(study, 1, 1, 2, 1, split_given=False))
    confirmation(study, stopped_by(signal.SIGINT))
    ended = losstune("confirm", "study", "--json")
    assert ended.code == 130
    told = json.loads(ended.out)
    assert (told["best"], told["answer"], told["stopped"]) == (None, [], "SIGINT")
    assert told["settings"]["infonce-0000"] == {"to be trained": 2}
    assert told["next"] == ["losstune confirm study --top 1 --seeds 2"]
