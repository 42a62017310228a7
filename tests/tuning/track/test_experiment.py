"""A study's experiment in MLflow is its own, renamed or in the trash, and no other's: on MLflow's SQLite store."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError
from losstune.tuning.study.study import Study
from losstune.tuning.track.experiment import STUDY_ID_TAG, delete_experiment, study_experiment
from losstune.tuning.track.mlflow_store import create_store
from losstune.tuning.track.runs import STUDY_TAG
from losstune.tuning.track.view import view_tags
from tests.tuning.reported import searched


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    create_store(tmp_path / "mlflow.db")
    return MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (0, 0))


def place_of(study: Study) -> str:
    return f"{study.home.where}/mlartifacts/study"


def another(study: Study, own_id: str = "f" * 16) -> Study:
    """Another study of the same name."""
    return replace(study, spec=study.spec.model_copy(update={"id": own_id}))


def test_it_is_made_once_and_known_by_the_studys_id(client: MlflowClient, study: Study) -> None:
    made = study_experiment(client, study, place_of(study))
    assert (made.name, made.artifact_location) == ("study", place_of(study))
    assert made.tags == {STUDY_TAG: "study", STUDY_ID_TAG: study.spec.id, **view_tags(study)}
    client.rename_experiment(made.experiment_id, "my favourite")
    assert study_experiment(client, study, place_of(study)).experiment_id == made.experiment_id
    assert client.get_experiment_by_name("study") is None


def test_one_in_the_trash_is_restored_with_what_its_user_wrote(
    client: MlflowClient, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    made = study_experiment(client, study, place_of(study)).experiment_id
    client.set_experiment_tag(made, "note", "for the paper")
    client.delete_experiment(made)
    found = study_experiment(client, study, place_of(study))
    assert (found.experiment_id, found.tags["note"]) == (made, "for the paper")
    assert client.get_experiment(made).lifecycle_stage == "active"
    assert capsys.readouterr().out == "note: the experiment 'study' was in MLflow's trash, and is restored\n"


def test_one_of_before_there_were_ids_is_taken_in(client: MlflowClient, study: Study) -> None:
    made = client.create_experiment("study")
    assert study_experiment(client, study, place_of(study)).experiment_id == made
    assert client.get_experiment(made).tags[STUDY_ID_TAG] == study.spec.id


@pytest.mark.parametrize("deleted", [False, True])
def test_one_of_a_study_that_was_here_before_gives_way(client: MlflowClient, study: Study, deleted: bool) -> None:
    """Its folder was removed by hand; runs of the two would have the same names."""
    before = study_experiment(client, another(study), place_of(study)).experiment_id
    if deleted:
        client.delete_experiment(before)
    now = study_experiment(client, study, place_of(study))
    assert (now.name, now.experiment_id != before) == ("study", True)
    aside = client.get_experiment(before)
    assert aside.lifecycle_stage == "deleted"
    assert re.fullmatch(r"study \(deleted [0-9: -]{19}\)", aside.name)


@pytest.mark.parametrize("own_id", ["f" * 16, ""])
def test_one_of_a_study_elsewhere_is_left_alone(client: MlflowClient, study: Study, own_id: str) -> None:
    theirs = study_experiment(client, study, "/elsewhere/mlartifacts/study").experiment_id
    here = another(study, own_id)
    with pytest.raises(UserError) as refused:
        study_experiment(client, here, place_of(study))
    assert str(refused.value) == (
        "the experiment 'study' is that of another study of this name; rename or delete it in MLflow, "
        "or give this study a --tracking-uri of its own"
    )
    delete_experiment(client, here)
    assert client.get_experiment(theirs).lifecycle_stage == "active"


def test_a_deleted_studys_name_is_free_again(client: MlflowClient, study: Study) -> None:
    delete_experiment(client, study)
    deleted = study_experiment(client, study, place_of(study)).experiment_id
    delete_experiment(client, study)
    assert study_experiment(client, another(study), place_of(study)).experiment_id != deleted
    trashed = client.get_experiment(deleted)
    assert trashed.lifecycle_stage == "deleted"
    assert re.fullmatch(r"study \(deleted [0-9: -]{19}\)", trashed.name)
