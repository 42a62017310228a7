"""What MLflow says of a study above its runs, and what of it is its user's."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.tuning.study.study import Study
from losstune.tuning.track.description import NOTE_TAG, describe, description
from losstune.tuning.track.mlflow_store import create_store
from tests.tuning.reported import confirmed, searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (3, 3))


def test_the_question_and_how_to_go_on(study: Study) -> None:
    at = f" --storage {study.home.where}"
    assert description(study).split("\n\n") == [
        "**Which loss, with which settings, on `digits`, by `val/mrr`?** Of `infonce`, `cosine`; each has 3 trials.",
        f"Not confirmed yet: `losstune confirm study{at}`",
        f"Continue: `losstune launch --study study{at}`",
    ]


def test_the_answer_once_it_is_known(study: Study) -> None:
    confirmed(study, top=1, seeds=4)
    assert description(study).split("\n\n")[1] == (
        "Confirmed: **infonce**, with the settings of `infonce-0000`: mean val/mrr 0.400 over 4 fresh seeds. How sure "
        f"that is, on the test split: `losstune compare study --storage {study.home.where}`"
    )


def test_a_description_of_the_users_stays(tmp_path: Path) -> None:
    create_store(tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("study")
    for text in ("first", "second", "second"):
        describe(client, experiment, text)
        assert client.get_experiment(experiment).tags[NOTE_TAG] == text
    client.set_experiment_tag(experiment, NOTE_TAG, "second, and mine")
    describe(client, experiment, "third")
    assert client.get_experiment(experiment).tags[NOTE_TAG] == "second, and mine"
