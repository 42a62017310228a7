"""How a confirmation ends: words, one object of JSON, exit codes. No Ray: the work before it is replaced."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.signals import StopRequest
from losstune.tuning.commands import confirm as commands_confirm
from losstune.tuning.commands.confirm import Confirmed
from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import make_plan, plans, save_plan
from losstune.tuning.study.study import Study
from tests.conftest import Command, Outcome
from tests.tuning.cli.test_ends import stopped_by
from tests.tuning.reported import confirmed, searched


@pytest.fixture
def confirmation(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next confirmation end so, with one line of its progress."""

    def ends(study: Study, stop: StopRequest | None = None) -> None:
        def confirm(_: object, console: Console) -> Confirmed:
            say(console, "in progress")
            return Confirmed(study, list(plans(study))[-1], stop or StopRequest(), tracked=True)

        monkeypatch.setattr(commands_confirm, "confirm", confirm)

    return ends


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


def test_json_of_a_confirmation_counts_what_ended_alike(losstune: Command, confirmation: Any) -> None:
    study = confirmed(searched(Path.cwd(), (3, 3)))
    plan = next(plans(study))
    runs = [run for run in runs_of(study, plan) if run.arm.name == "cosine-0000"]
    for number, run in enumerate(runs[:2]):
        result = run.result()
        assert result is not None
        reason = f"NaN in line 3, in epoch 2, batch {number}"
        run.finish(result.model_copy(update={"end": "diverged", "reason": reason, "best": None, "best_epoch": 0}))
    confirmation(study)
    told = json.loads(losstune("confirm", "study", "--json").out)
    assert told["settings"]["cosine-0000"] == {"NaN in line 3": 2, "epochs": 8}


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


def test_what_comes_next_goes_to_the_same_store_of_mlflows(losstune: Command, confirmation: Any) -> None:
    """What is exported is not logged."""
    study = confirmed(searched(Path.cwd(), (3, 3)))
    confirmation(study)
    elsewhere = "--tracking-uri http://mlflow"
    told = json.loads(losstune("confirm", "study", *elsewhere.split(), "--json").out)
    report, export = f"losstune report study {elsewhere} --output", "losstune export study --output"
    assert told["next"] == [f"{report} report.html", f"{export} best.yaml"]
    confirmation(study, stopped_by(signal.SIGTERM))
    told = json.loads(losstune("confirm", "study", *elsewhere.split(), "--json").out)
    assert told["next"][0].startswith(f"losstune confirm study {elsewhere} --top ")
