"""Two studies that release 0.1.0 has left, one half done and one confirmed, go on in this one.

What 0.1.0 itself said of them is kept beside them, and is the reference here.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml, read_yaml
from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.tuning.commands.confirm import ConfirmRequest, _plan
from losstune.tuning.confirm.plan import plans
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution
from losstune.tuning.space.feasibility import load_spaces
from losstune.tuning.space.reader import read_space
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.grown import copy_trials
from losstune.tuning.study.study import Study, open_study
from losstune.tuning.study.versions import versions_now
from tests.conftest import Command
from tests.trainer.samples import refusal
from tests.tuning.samples import facts

KEPT = Path(__file__).parent / "fixtures" / "release_0_1"
STUDIES = ("half", "confirmed")
SETTINGS_SINCE: dict[str, Any] = {"eval_queries": "all", "split_by": "ids", "answers": "own"}
"""Study settings that 0.1.0 did not have, each with the value that means what it did."""
TRAINING_SINCE: dict[str, Any] = {
    **{"columns": None, "eval_queries": "all", "average_epochs": None},
    **{"split_by": "ids", "answers": "own", "batch_parts": 1},
    **{"matryoshka_dims": None, "matryoshka_weights": None},
}
"""Training settings likewise."""
LOSS_SINCE: dict[str, dict[str, Any]] = {
    "infonce": {
        **{"decoupled": False, "hardness": 0.0, "guide_margin": None, "target_temperature": None, "hard_negatives": 0},
        **{"hard_negatives_every": 5, "hard_negatives_sample": 1024, "hard_negatives_skip": 8},
    },
}
"""Those of losses."""


@pytest.fixture
def root(losstune: Command) -> Path:
    """The working folder, with a copy of both studies and of their data."""
    for source in KEPT.iterdir():
        if source.is_dir():
            shutil.copytree(source, Path("studies") / source.name)
        else:
            shutil.copy(source, source.name)
    return Path.cwd()


@pytest.fixture(params=STUDIES)
def study(request: pytest.FixtureRequest, root: Path) -> Study:
    return open_study(Home(root), request.param)


def test_the_data_is_the_same(study: Study) -> None:
    assert load_pairs(study.spec.data_source).digest == study.spec.data_digest


def told(name: str) -> Any:
    """What 0.1.0 said."""
    return json.loads((KEPT / name).read_text())


def still(before: Any, now: Any) -> Any:
    """What is said now, without what 0.1.0 did not say."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: still(value, now[key]) for key, value in before.items()}
    if isinstance(before, list) and isinstance(now, list):
        return [still(*pair) for pair in zip(before, now, strict=True)]
    return pytest.approx(now) if isinstance(now, float) else now


def test_the_trials_pass_their_audit(study: Study) -> None:
    losses = told(f"{study.spec.name}.status.json")["losses"]
    assert {loss: len(own) for loss, own in audited_trials(study).items()} == {
        loss: len(said["trials"]) for loss, said in losses.items()
    }


def test_what_a_spec_does_not_name_means_what_it_meant(study: Study) -> None:
    frozen = read_yaml(study.folder / "study.yaml").data["settings"]
    now = study.spec.settings.model_dump()
    assert {name: now[name] for name in frozen} == frozen
    assert {name: now[name] for name in StudySettings.model_fields if name not in frozen} == SETTINGS_SINCE


def test_a_trial_trains_with_the_settings_that_0_1_wrote(study: Study) -> None:
    spaces = study.spec.search_spaces()
    for trials in study.trials().values():
        for trial in trials:
            written = read_run_settings(study.trials_folder / trial.name / "config.yaml")
            meant = {**TRAINING_SINCE, **LOSS_SINCE.get(trial.loss, {}), **written}
            managed = {name: meant[name] for name in study.spec.settings.training(study.spec.data_source, 1)}
            now = TrainConfig.from_flat(
                {**spaces[trial.loss].settings(trial.point), **managed, "seed": written["seed"]}
            ).flat()
            assert managed == study.spec.settings.training(study.spec.data_source, 1)
            assert now == meant


def test_only_the_new_version_is_asked_for_and_once(study: Study) -> None:
    spaces = load_spaces(list(study.spec.spaces) if study.spec.name == "half" else [], study.spec.search_spaces())
    before, now = study.spec.versions, versions_now()
    message = refusal(continued, study, spaces, {}, study.spec.data_digest)
    assert f"losstune: 0.1.0 in the study, {now['losstune']} now" in message.splitlines()[1:]
    assert all(line.partition(":")[0] in before for line in message.splitlines()[1:])
    accepted = continued(study, spaces, {}, study.spec.data_digest, accept_change=True)
    assert (accepted.spec.versions, accepted.spec.settings) == (now, study.spec.settings)
    assert accepted.spec.spaces == study.spec.spaces
    assert continued(accepted, spaces, {}, study.spec.data_digest) == accepted


def test_a_shipped_space_that_is_another_by_now_is_the_study_s(root: Path) -> None:
    study = open_study(Home(root), "half")
    spaces = load_spaces(["infonce", "cosine"], study.spec.search_spaces())
    assert {space.name: space.source for space in spaces} == study.spec.spaces


def test_its_space_may_grow(study: Study) -> None:
    spaces = []
    for loss, space in study.spec.search_spaces().items():
        searched = space.source["space"]
        wider = {
            name: domain | ({"high": 2 * domain["high"]} if name == "lr" else {}) for name, domain in searched.items()
        }
        more = {"choices": [*searched["batch_size"]["choices"], 24]}
        source = {**space.source, "space": wider | {"batch_size": more}}
        spaces.append(read_space(parse_yaml(dump_yaml(source), f"{loss}.yaml")))
    now = continued(study, spaces, {}, study.spec.data_digest, accept_change=True)
    before = study.trials()
    assert copy_trials(study, now) == {loss: len(own) for loss, own in before.items()}
    now.save()
    after = audited_trials(open_study(study.home, study.spec.name))
    assert {loss: [facts(trial) for trial in own] for loss, own in after.items()} == {
        loss: [facts(trial) for trial in own] for loss, own in before.items()
    }


@pytest.mark.parametrize("name", STUDIES)
def test_the_status_says_what_it_said(name: str, root: Path, losstune: Command) -> None:
    ended, before = losstune("status", name, "--json"), told(f"{name}.status.json")
    assert ended.code == 0
    assert before == still(before, json.loads(ended.out))


def test_the_confirmation_says_what_it_said(root: Path, losstune: Command) -> None:
    ended, before = losstune("compare", "confirmed", "--json"), told("confirmed.compare.json")
    assert ended.code == 0
    for words in ("answer", "guide_sentences"):
        before.pop(words)
    for pair in before["pairs"]:
        for uncorrected in ("detectable", "smaller", "seeds_needed"):  # they knew nothing of Holm
            pair.pop(uncorrected)
    assert before == still(before, json.loads(ended.out))


def test_the_same_confirmation_again_has_its_seeds_already(root: Path) -> None:
    study = open_study(Home(root), "confirmed")
    (plan,) = plans(study)
    execution = Execution(Resources(None, 1, None))
    request = ConfirmRequest("confirmed", Home(root), plan.top, plan.seeds, execution)
    pairs = load_pairs(study.spec.data_source)
    assert _plan(study, request, pairs, Console(quiet=True)) == plan
    assert list(plans(study)) == [plan]


def test_what_is_exported_is_what_was(root: Path, losstune: Command) -> None:
    ended = losstune("export", "confirmed", "--output", "best.yaml")
    assert ended.code == 0
    before = read_yaml(KEPT / "confirmed.export.yaml").data
    assert read_yaml(Path("best.yaml")).data == before | TRAINING_SINCE | LOSS_SINCE.get(before["loss_fn"], {})
    assert losstune("export", "half", "--output", "half.yaml").code == 0


@pytest.mark.parametrize("name", STUDIES)
def test_both_are_reported(name: str, root: Path, losstune: Command) -> None:
    ended = losstune("report", name)
    assert ended.code == 0
    assert ended.out.startswith(f"Wrote {name}.html: ")


@pytest.mark.slow
def test_both_go_on_with_one_word_for_the_new_version(root: Path, losstune: Command) -> None:
    """One launch and two confirmations of whole studies, with Ray and MLflow."""
    before = open_study(Home(root), "half")
    (paused,) = (trial for own in before.trials().values() for trial in own if trial.ending is None)
    history = before.trials_folder / paused.name / "history.jsonl"
    trained = history.read_text().splitlines()[: paused.epochs]
    launch = ("launch", "infonce", "cosine", "--study", "half")
    assert losstune(*launch).code == 2
    assert losstune(*launch, "--accept-change").code == 0
    trials = open_study(Home(root), "half").trials()
    assert {loss: len(own) for loss, own in trials.items()} == {"infonce": 14, "cosine": 14}
    assert all(trial.ending and trial.ending.state != "failed" for own in trials.values() for trial in own)
    assert history.read_text().splitlines()[: paused.epochs] == trained
    assert paused.epochs > 0
    more = ("confirm", "confirmed", "--top", "1", "--seeds", "3")
    refused = losstune(*more)
    assert refused.code == 2
    assert "losstune: 0.1.0 in the study" in refused.err
    assert losstune(*more, "--accept-change").code == 0
    assert losstune("confirm", "half", "--top", "1", "--seeds", "2").code == 0
    for name in STUDIES:
        for command in (("compare", name), ("report", name, "--output", "r.html"), ("sync", name)):
            ended = losstune(*command)
            assert ended.code == 0, ended.err
        assert losstune("export", name, "--output", f"{name}.yaml").code == 0
