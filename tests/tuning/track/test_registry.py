"""The confirmed winner in MLflow's registry, on MLflow's own SQLite store."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, RESOURCE_EXHAUSTED
from mlflow.tracking import MlflowClient

from losstune.trainer.run.checkpoint import load_checkpoint, save_checkpoint
from losstune.trainer.run.layout import BEST_FILE
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.study.study import Study
from losstune.tuning.track import registry
from losstune.tuning.track.experiment import STUDY_ID_TAG
from losstune.tuning.track.mlflow_store import create_store, default_store
from losstune.tuning.track.registry import CHAMPION, FOR_SEARCH, register_champion, retire_champion
from losstune.tuning.track.runs import RUN_TAG
from tests.trainer.samples import sample_arrays
from tests.tuning.reported import confirmed, searched
from tests.tuning.track.test_logged_model import centred_run, new_run


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Confirmed, with a winner whose checkpoint stands for it in the registry: it is no model that MLflow could log."""
    return confirmed_study(tmp_path)


def confirmed_study(root: Path) -> Study:
    study = confirmed(searched(root, trials=(3, 3)), top=1, seeds=2)
    winner(study).folder.joinpath(BEST_FILE).write_bytes(b"no model of torch's")
    return study


def winner(study: Study) -> ConfirmRun:
    champion = confirmed_run(study, None)
    assert champion is not None
    return champion


@pytest.fixture
def uri(tmp_path: Path) -> str:
    create_store(tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def champion_version(client: MlflowClient) -> int:
    return int(client.get_model_version_by_alias("study", CHAMPION).version)


def test_a_model_that_mlflow_can_not_log_is_registered_once_as_its_checkpoint(
    study: Study, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(uri)
    run_id = new_run(client, tmp_path / "artifacts")
    for _ in range(2):
        register_champion(client, uri, study, winner(study), run_id, [])
    (version,) = client.search_model_versions("name = 'study'")
    assert int(version.version) == champion_version(client)
    assert version.tags[RUN_TAG] == winner(study).name
    assert Path(version.source.removeprefix("file://")).read_bytes() == b"no model of torch's"
    assert client.get_run(run_id).info.end_time == 7
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith("note: the champion is registered as its checkpoint, because MLflow can not log it: ")


def test_the_winner_of_a_study_that_was_deleted_is_not_the_next_ones(tmp_path: Path, uri: str) -> None:
    """Another study of that name, whose winner has the same name: launch, confirm, delete, and all of it again."""
    client = MlflowClient(uri)
    for number, root in enumerate((tmp_path / "first", tmp_path / "second"), start=1):
        study = confirmed_study(root)
        run_id = new_run(client, tmp_path / "artifacts")
        register_champion(client, uri, study, winner(study), run_id, [])
        assert champion_version(client) == number
        assert client.get_model_version("study", str(number)).run_id == run_id
        assert retire_champion(client, study) == [number]
        assert client.get_registered_model("study").aliases == {}
    assert len(client.search_model_versions("name = 'study'")) == 2


def test_an_alias_that_its_user_has_moved_stays_there(study: Study, uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    first, second = (new_run(client, tmp_path / "artifacts") for _ in range(2))
    for run_id in (first, second):
        register_champion(client, uri, study, winner(study), run_id, [])
    client.set_registered_model_alias("study", CHAMPION, "1")  # back to what served well
    register_champion(client, uri, study, winner(study), second, [])
    assert champion_version(client) == 1
    register_champion(client, uri, study, winner(study), first, [])  # a new confirmation says so
    register_champion(client, uri, study, winner(study), second, [])
    assert champion_version(client) == 2


def test_an_alias_of_other_versions_is_not_taken_away(study: Study, uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    register_champion(client, uri, study, winner(study), new_run(client, tmp_path / "artifacts"), [])
    client.create_model_version("study", "file:///theirs", tags={STUDY_ID_TAG: "another study's"})
    client.set_registered_model_alias("study", CHAMPION, "2")
    assert retire_champion(client, study) == [1]
    assert champion_version(client) == 2


@pytest.fixture
def centred(study: Study, tmp_path: Path) -> Path:
    """The winner's checkpoint, which is a model now, of a run that was trained about its centre."""
    return (centred_run(tmp_path) / BEST_FILE).replace(winner(study).folder / BEST_FILE)


BUSY, TIMED_OUT = MlflowException("busy", error_code=RESOURCE_EXHAUSTED), ConnectionError("timed out")


@pytest.mark.parametrize(
    ("call", "error"),
    [("create_logged_model", BUSY), ("log_model_artifacts", TIMED_OUT), ("create_model_version", BUSY)],
)
def test_what_a_server_did_not_take_it_gets_at_the_next_time(
    call: str,
    error: Exception,
    study: Study,
    centred: Path,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = MlflowClient(uri)
    run_id = new_run(client, tmp_path / "artifacts")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, fail)
        with pytest.raises(type(error), match=str(error)):
            register_champion(client, uri, study, winner(study), run_id, [])
    assert client.search_model_versions("name = 'study'") == []
    assert client.list_artifacts(run_id) == []
    register_champion(client, uri, study, winner(study), run_id, [])
    assert client.get_registered_model("study").aliases.keys() == {CHAMPION, FOR_SEARCH}
    assert capsys.readouterr().out == ""
    models = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert {model.status.name for model in models} == {"READY"}


def test_a_server_that_knows_no_models_of_runs_has_the_checkpoint(
    study: Study,
    centred: Path,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_such_call(*_: object, **__: object) -> None:
        raise MlflowException("not found", error_code=ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(MlflowClient, "create_logged_model", no_such_call)
    client = MlflowClient(uri)
    register_champion(client, uri, study, winner(study), new_run(client, tmp_path / "artifacts"), [])
    (version,) = client.search_model_versions("name = 'study'")
    assert Path(version.source.removeprefix("file://")).read_bytes() == centred.read_bytes()
    assert capsys.readouterr().out.endswith("because MLflow can not log it: its server is older than MLflow 3\n")


def test_a_note_has_no_password(
    study: Study, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("weights of http://me:secret@mlflow, as secret")

    monkeypatch.setattr(registry, "export_models", fail)
    client = MlflowClient(uri)
    with pytest.raises(MlflowException):
        registry._logged(client, "http://me:secret@mlflow", study, winner(study), "no such run")
    assert capsys.readouterr().out.endswith("because MLflow can not log it: weights of http://me:***@mlflow, as ***\n")


def test_a_champion_has_two_versions_one_plain_and_one_for_search(
    study: Study, centred: Path, uri: str, tmp_path: Path
) -> None:
    import mlflow.pytorch

    client = MlflowClient(uri)
    run_id = new_run(client, tmp_path / "artifacts")
    for _ in range(2):
        register_champion(client, uri, study, winner(study), run_id, [])
    versions = client.search_model_versions("name = 'study'")
    assert len(versions) == 2
    assert {version.run_id for version in versions} == {run_id}
    inputs, trained = sample_arrays()["inputs"], load_model(centred)
    for alias, for_search in ((CHAMPION, False), (FOR_SEARCH, True)):
        with default_store(uri):
            served = mlflow.pytorch.load_model(f"models:/study@{alias}")
        found = served(torch.from_numpy(inputs.astype(np.float64))).detach()
        np.testing.assert_allclose(found, trained.predict(inputs, for_search=for_search), atol=1e-6)
        with pytest.raises(NotImplementedError, match="eval"):  # which the docs say
            served.eval()
    assert retire_champion(client, study) == [1, 2]
    assert client.get_registered_model("study").aliases == {}


def test_a_champion_that_does_not_know_its_centre_is_registered_plain(study: Study, uri: str, tmp_path: Path) -> None:
    client, checkpoint = MlflowClient(uri), winner(study).folder / BEST_FILE
    content = load_checkpoint(centred_run(tmp_path) / BEST_FILE)
    del content["center"]
    save_checkpoint(checkpoint, content)
    register_champion(client, uri, study, winner(study), new_run(client, tmp_path / "artifacts"), [])
    assert {name: int(version) for name, version in client.get_registered_model("study").aliases.items()} == {
        CHAMPION: 1
    }
