"""A study on disk: created, opened, deleted."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials
from losstune.tuning.study.study import Study, found_study, open_study
from tests.trainer.samples import refusal
from tests.tuning.samples import CONDITIONAL, facts, new_trials, space_of, used_up
from tests.tuning.study.created import DIGEST, PLAIN, created


def test_a_study_reads_back_as_it_was_created(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL, seed=2**63 - 1)
    again = open_study(Home(tmp_path), "first")
    assert again == study
    assert again.spec.settings == StudySettings(max_epochs=27, epochs_per_loss=270, seed=2**63 - 1, sampler="gp")
    assert (again.spec.data_source, again.spec.data_digest) == ("digits", DIGEST)
    assert {"python", "losstune", "torch", "ray", "optuna", "mlflow"} <= set(again.spec.versions)
    assert again.folder == tmp_path / "studies" / "first"
    assert again.trials_folder.is_dir()


def test_frozen_spaces_are_the_spaces_of_the_first_launch(tmp_path: Path) -> None:
    created(tmp_path, CONDITIONAL, PLAIN)
    spaces = open_study(Home(tmp_path), "first").spec.search_spaces()
    assert list(spaces) == ["infonce", "mse"]
    for space, text in zip(spaces.values(), (CONDITIONAL, PLAIN), strict=True):
        assert space == space_of(text, file=space.file)


def test_trials_are_in_the_study_s_own_storage(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    trials = new_trials(space_of(PLAIN), study.storage())
    trials.end(trials.add({"lr": 0.001}, seed=0), used_up())
    found = open_study(Home(tmp_path), "first").trials()
    assert [facts(trial) for trial in found["mse"]] == [facts(trials[0])]
    assert found["infonce"] == []
    assert (study.folder / "optuna.db").exists()


@pytest.mark.parametrize("name", ["what?", "My%20Data", "{old}", "{0}", "100% jürgen"])
def test_a_study_is_in_its_own_folder_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    (root := tmp_path / name).mkdir()
    study = created(root)
    trials = new_trials(space_of(PLAIN), study.storage())
    trials.end(trials.add({"lr": 0.001}, seed=0), used_up())
    again = open_study(Home(root), "first")
    assert [facts(trial) for trial in again.trials()["mse"]] == [facts(trials[0])]
    assert len(audited_trials(again)["mse"]) == 1
    assert list(tmp_path.iterdir()) == [root]
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage:
        assert storage.execute("SELECT state FROM trials").fetchall() == [("COMPLETE",)]


def test_a_study_is_not_opened_without_the_storage_that_it_is_in(tmp_path: Path) -> None:
    """A variable that another shell does not have, and one that it has."""
    created(tmp_path)
    shared = Home(tmp_path, database=database_at("postgresql://me:geheim@db.example/studies"))
    assert refusal(open_study, shared, "first") == (
        f"study 'first' in {tmp_path}/studies has its trials in its own folder, not in "
        "postgresql://me:***@db.example/studies: go on without --study-storage or LOSSTUNE_STUDY_STORAGE"
    )
    own = found_study(shared, "first")
    Study(own.home, own.spec.model_copy(update={"trials_in": "database"})).save()
    open_study(shared, "first")
    assert refusal(open_study, Home(tmp_path), "first") == (
        f"study 'first' in {tmp_path}/studies has its trials in a database, and none is named: --study-storage or "
        "LOSSTUNE_STUDY_STORAGE names it"
    )


def test_a_study_of_before_that_was_kept_is_opened_by_either(tmp_path: Path) -> None:
    study = created(tmp_path)
    Study(study.home, study.spec.model_copy(update={"trials_in": None})).save()
    for database in (None, database_at("postgresql://me:geheim@db.example/studies")):
        assert not open_study(Home(tmp_path, database=database), "first").is_elsewhere


def test_a_trial_that_a_launch_begins_meanwhile_is_none_that_is_missing(tmp_path: Path) -> None:
    study = created(tmp_path)
    trials = new_trials(space_of(PLAIN), study.storage())
    before = study.trials()
    trials.add({"lr": 0.001}, seed=0)
    history = study.trials_folder / "mse-0000" / "history.jsonl"
    history.parent.mkdir()
    history.write_text("{}\n")
    study.check_recorded(before)
    later = study.trials_folder / "mse-0001" / "history.jsonl"
    later.parent.mkdir()
    later.write_text("{}\n")
    assert f"optuna.db does not know mse-0001 in {study.trials_folder}" in refusal(study.check_recorded, before)
    assert "optuna.db does not know mse-0001" in refusal(study.trials)


def test_a_name_outside_the_root_creates_nothing(tmp_path: Path) -> None:
    (root := tmp_path / "root").mkdir()
    with pytest.raises(UserError):
        created(root, name="../../x")
    with pytest.raises(UserError), Home(root).locked("../../x"):
        pass
    assert list(tmp_path.iterdir()) == [root]
    assert list(root.iterdir()) == []


def test_an_unknown_study_says_which_there_are(tmp_path: Path) -> None:
    assert refusal(open_study, Home(tmp_path), "third") == f"no study 'third' in {tmp_path / 'studies'}; found: none"
    created(tmp_path, name="second")
    created(tmp_path, name="first")
    message = refusal(open_study, Home(tmp_path), "third")
    assert message == f"no study 'third' in {tmp_path / 'studies'}; found: first, second"


def test_a_deleted_study_is_gone(tmp_path: Path) -> None:
    created(tmp_path)
    created(tmp_path, name="second")
    open_study(Home(tmp_path), "first").delete()
    assert Home(tmp_path).names() == ["second"]
    assert not (tmp_path / "studies" / "first").exists()


def test_spaces_are_kept_as_they_were_written(tmp_path: Path) -> None:
    spaces: dict[str, SearchSpace] = created(tmp_path, PLAIN).spec.search_spaces()
    assert spaces["mse"].source == space_of(PLAIN).source
