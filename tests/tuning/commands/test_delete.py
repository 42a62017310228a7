"""A study is removed by its holder alone, its runs in MLflow first; what is registered stays."""

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.commands.delete import delete_study
from losstune.tuning.commands.studies import held
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study
from losstune.tuning.track.mlflow_store import create_store
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.registry import CHAMPION, FOR_SEARCH, FOR_SEARCH_TAG
from tests.conftest import Command
from tests.tuning.reported import confirmed, searched


def test_folder_and_runs_go_and_what_is_held_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, uri = searched(tmp_path, (1, 1)), f"sqlite:///{tmp_path}/mlflow.db"
    Tracker(study, uri).sync(None)
    there: list[bool] = []
    delete = Study.delete
    monkeypatch.setattr(Study, "delete", lambda own: (there.append(experiment(uri) is not None), delete(own)))
    with held(study.home, "study"), pytest.raises(UserError, match="study 'study' is in use by process"):
        delete_study(study.home, "study", uri)
    assert experiment(uri) is not None
    assert delete_study(study.home, "study", uri) == []
    assert there == [False]
    assert not study.folder.exists()
    with pytest.raises(UserError, match="no study 'study' in "):
        delete_study(Home(tmp_path), "study", uri)


def experiment(uri: str) -> object:
    return MlflowClient(uri).get_experiment_by_name("study")


def test_what_is_registered_stays_without_the_alias_and_it_is_said(losstune: Command) -> None:
    create_store(Path("mlflow.db"))
    study, uri = confirmed(searched(Path.cwd(), (3, 3)), top=1, seeds=2), "sqlite:///mlflow.db"
    champion = confirmed_run(study, None)
    assert champion is not None
    (champion.folder / BEST_FILE).write_bytes(b"no model of torch's")
    Tracker(study, uri).sync(None)
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("study", CHAMPION)
    client.set_registered_model_alias("study", "shipped", version.version)
    for_search = client.create_model_version("study", "file:///model", tags=version.tags | {FOR_SEARCH_TAG: "true"})
    client.set_registered_model_alias("study", FOR_SEARCH, for_search.version)
    client.create_model_version("study", "file:///model")  # its user's own
    said = losstune("delete", "study", "--yes")
    assert said.out.splitlines() == [
        "Deleted study study",
        "MLflow keeps what is registered as model study (versions 1, 2), without losstune's aliases",
    ]
    assert client.get_registered_model("study").aliases == {"shipped": 1}
    assert len(client.search_model_versions("name = 'study'")) == 3


def test_a_store_that_does_not_answer_leaves_the_study_as_it_is(losstune: Command) -> None:
    study = searched(Path.cwd(), (1, 1))
    create_store(Path.cwd() / "mlflow.db")
    Path("text.db").write_text("no database, and longer than the header of one would be" * 4)
    refused = losstune("delete", "study", "--yes", "--tracking-uri", "sqlite:///text.db")
    assert refused.code == 2
    assert refused.err.startswith(
        "error: study study is not deleted, the same command does so once MLflow answers: MLflow's store "
        "sqlite:///text.db can not be used: "
    )
    assert study.folder.exists()
    deleted = losstune("delete", "study", "--yes", "--json")
    assert json.loads(deleted.out) == {"study": "study", "kept_versions": []}
    assert not study.folder.exists()
