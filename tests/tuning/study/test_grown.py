"""A loss whose space grew goes on with its trials; dying in between changes nothing, and damage is found."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from losstune.tuning.search.proposals import propose
from losstune.tuning.space.settings import SamplerName
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials, sound_trials
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.grown import copy_trials
from losstune.tuning.study.study import Study, open_study
from losstune.tuning.study.trial import TrialView
from tests.reliability.made import made
from tests.trainer.samples import refusal
from tests.tuning.reported import SPACES
from tests.tuning.samples import PowerCutError, cut, facts, failed, space_of, used_up
from tests.tuning.study.created import DIGEST, created

WIDER = (
    SPACES["infonce"].replace("high: 1.0", "high: 2.0").replace("[constant, cosine]", "[cosine, constant]")
    + "      batch_size: {choices: [16, 32]}\n"
)
WIDEST = WIDER.replace("[16, 32]", "[64, 16, 32]")
NEW = {"batch_size": 32}
"""What the new parameter was by default."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a study with six ended trials a loss, and of infonce one that failed and two that are to go on."""
    root = tmp_path_factory.mktemp("original")
    study = made(root)
    own = study.open_trials(study.storage())["infonce"]
    own.end(own.add({"temperature": 0.9, "schedule": "constant"}, seed=6), failed())
    own.report(own.add({"temperature": 0.8, "schedule": "cosine", "warmup_epochs": 5}, seed=7), 1, 0.125)
    own.pause(own.add({"temperature": 0.9, "schedule": "constant"}, seed=8, retry_of=6))
    own.drop({"why": "no hope"})
    return root


@pytest.fixture
def study(original: Path, tmp_path: Path) -> Study:
    """A copy of it."""
    shutil.copytree(original / "studies", tmp_path / "studies")
    return open_study(Home(tmp_path), "study")


def in_wider(study: Study, infonce: str = WIDER) -> Study:
    """The study in a space that grew, its trials not copied yet."""
    spaces = [space_of(text) for text in (infonce, SPACES["cosine"])]
    return continued(study, spaces, {}, study.spec.data_digest, accept_change=True)


def grown(study: Study, infonce: str = WIDER) -> Study:
    now = in_wider(study, infonce)
    copy_trials(study, now)
    now.save()
    return reopened(now)


def reopened(study: Study) -> Study:
    return open_study(Home(study.home.root), "study")


def told(trial: TrialView) -> tuple[object, ...]:
    return *facts(trial)[:2], *facts(trial)[3:], trial.started, trial.finished, trial.value, trial.retry_of


def seeds(study: Study) -> list[int]:
    url = f"sqlite:///{study.folder / 'optuna.db'}"
    trials = optuna.load_study(study_name=study.optuna_name("infonce"), storage=url).trials
    return [trial.user_attrs["seed"] for trial in trials]


def names(study: Study) -> list[str]:
    return sorted(found.study_name for found in study.storage().get_all_studies())


def test_all_trials_go_on_with_their_numbers_ends_values_and_times(study: Study) -> None:
    before = study.trials()
    assert copy_trials(study, in_wider(study)) == {"infonce": 9}
    now = grown(study)
    trials = now.trials()
    assert [told(trial) for trial in trials["infonce"]] == [told(trial) for trial in before["infonce"]]
    assert [trial.point for trial in trials["infonce"]] == [trial.point | NEW for trial in before["infonce"]]
    assert [trial.state for trial in trials["infonce"]][-3:] == ["failed", "running", "paused"]
    assert all(trial.is_whole for trial in trials["infonce"])
    assert [facts(trial) for trial in trials["cosine"]] == [facts(trial) for trial in before["cosine"]]
    assert seeds(now) == seeds(study) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert names(now) == ["cosine", "infonce", "infonce@2"]


def test_what_optuna_knows_of_a_loss_goes_along_and_the_race_begins_anew(study: Study) -> None:
    now = grown(study)
    url = f"sqlite:///{now.folder / 'optuna.db'}"
    copied = optuna.load_study(study_name="infonce@2", storage=url)
    assert copied.metric_names == ["val/mrr"]
    before = optuna.load_study(study_name="infonce", storage=url).user_attrs
    assert before.pop("dropped") == {"why": "no hope"}
    assert copied.user_attrs == before | {"grown_at": 9}
    assert {trial.distributions["schedule"].choices for trial in copied.trials} == {("cosine", "constant")}
    (own,) = (own for loss, own in now.open_trials(now.storage()).items() if loss == "infonce")
    assert (own.dropped, own.grown_at) == (None, 9)


def test_the_audit_knows_both_and_what_was_interrupted_goes_on(study: Study) -> None:
    now = grown(study)
    own = audited_trials(now)["infonce"]
    own.settle()
    own.resume(7)
    own.end(7, cut(0.25, 3))
    own.end(own.add({"temperature": 1.9, "schedule": "constant", "batch_size": 16}, seed=9), used_up())
    again = audited_trials(reopened(now))["infonce"]
    assert [trial.number for trial in again] == list(range(10))
    assert [trial.state for trial in again][-4:] == ["failed", "pruned", "paused", "complete"]
    assert len(sound_trials(now)["infonce"]) == 10


def test_it_grows_again_and_both_former_spaces_are_kept(study: Study) -> None:
    second = grown(study)
    own = second.open_trials(second.storage())["infonce"]
    own.end(own.add({"temperature": 1.9, "schedule": "constant", "batch_size": 16}, seed=9), used_up())
    third = grown(second, WIDEST)
    assert names(third) == ["cosine", "infonce", "infonce@2", "infonce@3"]
    assert [space.parameters for space in third.spec.earlier_spaces("infonce")] == [
        space_of(SPACES["infonce"]).parameters,
        space_of(WIDER).parameters,
    ]
    again = audited_trials(third)["infonce"]
    assert [trial.point for trial in again] == [trial.point for trial in second.trials()["infonce"]]
    assert third.spec.search_spaces()["infonce"].parameters == space_of(WIDEST).parameters
    assert seeds(third) == list(range(10))


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_samplers_go_on_from_trials_of_both(sampler: SamplerName, study: Study) -> None:
    """They propose what is new too, and the same each time."""
    now, proposed = grown(study), []
    for _ in range(2):
        own = now.open_trials(now.storage())["infonce"]
        own.end(own.add({"temperature": 1.9, "schedule": "constant", "batch_size": 16}, seed=9), used_up(0.9))
        proposed.append([propose(own, sampler, seed) for seed in range(6)])
        copy_trials(study, now)
    assert proposed[0] == proposed[1]
    assert 16 in {point["batch_size"] for point in proposed[0] if point}


def test_a_grid_that_was_used_up_has_what_is_new(tmp_path: Path) -> None:
    text = "loss_fn: mse\nspace: {batch_size: {choices: [32, 16]}}\nstudy: {sampler: grid}"
    study = created(tmp_path, text)
    own = study.open_trials(study.storage())["mse"]
    for size in (32, 16):
        own.add({"batch_size": size}, seed=0)
    assert propose(own, "grid", 0) is None
    now = continued(study, [space_of(text.replace("[32", "[64, 32"))], {}, DIGEST, accept_change=True)
    copy_trials(study, now)
    assert propose(now.open_trials(now.storage())["mse"], "grid", 0) == {"batch_size": 64}


@pytest.mark.parametrize(
    ("call", "at"),
    [
        ("create_new_study", 1),
        ("set_study_user_attr", 1),
        ("set_study_system_attr", 1),
        *(("create_new_trial", at) for at in (1, 2, 9)),
        ("save", 1),
    ],
)
def test_a_launch_that_dies_while_it_copies_leaves_the_study_as_it_was(
    call: str, at: int, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Study if call == "save" else RDBStorage
    before, calls, real = study.trials(), iter(range(1, 100)), getattr(owner, call)

    def dies(*arguments: object, **named: object) -> object:
        if next(calls) == at:
            raise PowerCutError
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, dies)
        with pytest.raises(PowerCutError):
            grown(study)
    again = reopened(study)
    assert again.spec == study.spec
    assert again.trials() == before
    assert len(audited_trials(again)["infonce"]) == 9
    now = grown(again)
    assert [trial.number for trial in audited_trials(now)["infonce"]] == list(range(9))
    assert names(now) == ["cosine", "infonce", "infonce@2"]


def refused(study: Study, statement: str) -> str:
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        assert storage.execute(statement).rowcount > 0
    return refusal(audited_trials, reopened(study))


def of(name: str, number: int) -> str:
    """SQL: the id of a trial."""
    studies = f"(SELECT study_id FROM studies WHERE study_name = '{name}')"
    return f"(SELECT trial_id FROM trials WHERE number = {number} AND study_id = {studies})"


def test_a_number_that_changed_in_either_is_found(study: Study) -> None:
    now = grown(study)
    change = "UPDATE trials SET number = 19 WHERE trial_id = "
    there = "optuna.db: infonce-0003, also kept as before its space grew, has the number 19 there"
    assert there in refused(now, change + of("infonce", 3))
    assert "optuna.db: infonce-0004 has the number 19" in refused(now, change + of("infonce@2", 4))


def test_a_parameter_that_changed_in_what_was_before_is_found(study: Study) -> None:
    change = (
        f"UPDATE trial_params SET param_value = 0.5 WHERE param_name = 'temperature' AND trial_id = {of('infonce', 2)}"
    )
    text = refused(grown(study), change)
    assert "optuna.db: infonce-0002, also kept as before its space grew, has the parameters {'temperature': " in text
    assert ", there {'temperature': 0.5, " in text


def test_an_end_that_changed_in_what_was_before_is_found(study: Study) -> None:
    change = "UPDATE trial_user_attributes SET value_json = replace(value_json, 'used its', 'wasted its')"
    text = refused(grown(study), f"{change} WHERE key = 'end' AND trial_id = {of('infonce', 0)}")
    assert "optuna.db: infonce-0000, also kept as before its space grew, ended as Ending(" in text


def test_a_trial_that_is_gone_since_is_found(study: Study) -> None:
    text = refused(grown(study), f"DELETE FROM trials WHERE trial_id = {of('infonce@2', 8)}")
    assert "optuna.db: infonce-0008, also kept as before its space grew, is gone" in text


def test_optuna_may_have_been_told_to_forget_what_was_before(study: Study) -> None:
    now = grown(study)
    optuna.delete_study(study_name="infonce", storage=f"sqlite:///{now.folder / 'optuna.db'}")
    assert len(audited_trials(reopened(now))["infonce"]) == 9
