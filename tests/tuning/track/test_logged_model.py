"""A run's model in MLflow, whatever its user does in MLflow meanwhile: on MLflow's own SQLite store."""

from pathlib import Path

import mlflow
import mlflow.pytorch
import numpy as np
import pytest
import torch
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from losstune.trainer.run.layout import BEST_FILE
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.track.logged_model import ExportedModel, export_models, log_model
from losstune.tuning.track.mlflow_store import create_store, default_store
from tests.trainer.samples import sample_arrays, sample_config, sample_trainer


def new_run(client: MlflowClient, artifacts: Path) -> str:
    found = client.get_experiment_by_name("study")
    experiment = found.experiment_id if found else client.create_experiment("study", artifact_location=str(artifacts))
    run_id: str = client.create_run(experiment, tags={"mlflow.source.name": "losstune", "other": "tag"}).info.run_id
    client.log_param(run_id, "lr", "0.1")
    client.set_terminated(run_id, "FINISHED", end_time=7)
    return run_id


def centred_run(root: Path) -> Path:
    """The folder of a run of one epoch that was trained about its centre."""
    trainer, run = sample_trainer(sample_config(center=True, device="cpu")), RunDirectory(root / "run")
    run.start(trainer.config)
    run.save(trainer, [trainer.run_epoch()])
    return run.path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return centred_run(tmp_path_factory.mktemp("root")) / BEST_FILE


@pytest.fixture
def exported(checkpoint: Path, tmp_path: Path) -> list[ExportedModel]:
    return export_models(checkpoint, tmp_path)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    create_store(tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_run_and_an_experiment_of_the_users_stay_theirs(
    exported: list[ExportedModel], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook that has said ``set_experiment``, and reports within a run of its own in another store."""
    client, theirs = MlflowClient(uri), f"sqlite:///{tmp_path}/theirs.db"
    run_id = new_run(client, tmp_path / "artifacts")
    with default_store(theirs):
        own = MlflowClient(theirs).create_experiment("own", artifact_location=str(tmp_path / "own"))
        monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", own)
        with mlflow.start_run() as active:
            ids = [log_model(client, run_id, one) for one in exported]
            assert mlflow.active_run().info.run_id == active.info.run_id
        assert MlflowClient(theirs).search_logged_models([own]) == []
        assert MlflowClient(theirs).get_run(active.info.run_id).outputs.model_outputs == []
    run = client.get_run(run_id)
    models = {model.model_id: model for model in client.search_logged_models([run.info.experiment_id])}
    assert [models[model_id].name for model_id in ids] == ["model-for-search", "model"]
    # A set: the store gives a run's models in the order of their ids, which are random.
    assert {output.model_id for output in run.outputs.model_outputs} == set(ids)
    for model in models.values():
        assert (model.source_run_id, model.status.name, model.params) == (run_id, "READY", {"lr": "0.1"})
        assert model.tags == {"mlflow.source.name": "losstune"}
    assert (run.info.status, run.info.end_time) == ("FINISHED", 7)


def test_what_is_loaded_predicts_as_the_checkpoint_and_names_its_run(
    exported: list[ExportedModel], checkpoint: Path, uri: str, tmp_path: Path
) -> None:
    client, trained, inputs = MlflowClient(uri), load_model(checkpoint), sample_arrays()["inputs"]
    run_id = new_run(client, tmp_path / "artifacts")
    for one in exported:
        model_id = log_model(client, run_id, one)
        place = client.get_logged_model(model_id).artifact_location
        told = Model.load(place)
        assert (told.model_id, told.model_uuid, told.run_id, told.artifact_path) == (model_id, model_id, run_id, place)
        with default_store(uri):
            served = mlflow.pytorch.load_model(f"models:/{model_id}")
        found = served(torch.from_numpy(inputs)).detach()
        np.testing.assert_allclose(found, trained.predict(inputs, for_search=one.for_search), atol=1e-6)


def test_a_model_whose_files_do_not_arrive_is_not_shown(
    exported: list[ExportedModel], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("timed out")

    client = MlflowClient(uri)
    run_id = new_run(client, tmp_path / "artifacts")
    monkeypatch.setattr(MlflowClient, "log_model_artifacts", fail)
    with pytest.raises(ConnectionError, match="timed out"):
        log_model(client, run_id, exported[0])
    assert client.search_logged_models([client.get_run(run_id).info.experiment_id]) == []
    assert client.get_run(run_id).outputs.model_outputs == []
