"""The commands that repeat a study are those that the command line understands."""

from pathlib import Path
from typing import Any

import typer

from losstune.trainer.cli.app import app_for
from losstune.tuning.cli.app import app
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.report.reproduce import Step, own_spaces, steps
from losstune.tuning.space.reader import load_space
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import create_study, open_study
from tests.tuning.reported import confirmed, searched
from tests.tuning.samples import settings_of


def parsed(step: Step) -> dict[str, Any]:
    """A step's options as the command line understands them."""
    name, *arguments = step.arguments
    group = typer.main.get_command(app_for(()) if name == "train" else app)
    command = group.commands[name]  # type: ignore[attr-defined]
    return command.make_context(name, arguments).params


def test_the_commands_are_valid_and_repeat_the_study(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, trials=(3, 3)))
    found = {step.arguments[0]: step for step in steps(study, latest_finished(study)) if step.arguments[0] != "report"}
    launch = parsed(found["launch"])
    frozen = study.spec.settings.model_dump()
    assert launch["spaces"] == ["infonce.yaml", "cosine.yaml"]
    assert {name: launch[name] for name in frozen if name != "race"} == {n: v for n, v in frozen.items() if n != "race"}
    assert (launch["data"], launch["study"]) == (study.spec.data_source, "study")
    confirm = parsed(found["confirm"])
    assert (confirm["name"], confirm["top"], confirm["seeds"]) == ("study", 2, 10)
    assert parsed(found["export"])["output"] == parsed(found["train"])["config"] == Path("best.yaml")
    assert parsed(found["train"])["fit"] == "train+val"


def test_commands_name_shipped_spaces_and_are_quoted(tmp_path: Path) -> None:
    settings = settings_of(max_epochs=5, grace_epochs=5, race=True)
    space = load_space("guide_1_mse")
    create_study(Home(tmp_path), "flat", [space], settings, "my data.npz", "0" * 64, "inputs=a b")
    study = open_study(Home(tmp_path), "flat")
    assert own_spaces(study) == {}
    assert " ".join(steps(study, None)[0].words) == (
        "losstune launch guide_1_mse --data 'my data.npz' --columns 'inputs=a b' --study flat --objective val/mrr "
        "--max-epochs 5 --grace-epochs 5 --reduction-factor 3 --sampler tpe --seed 0 --epochs-per-loss 50 "
        "--eval-queries all --split-by ids --answers own --race"
    )
    assert steps(study, None)[1].arguments == ("confirm", "flat")
