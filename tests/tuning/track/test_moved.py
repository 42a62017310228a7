"""A folder of studies that was moved or copied, with MLflow's SQLite store: artifacts are found and written there."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, open_study
from losstune.tuning.study.trial import best_trial
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.moved import follow_folder
from losstune.tuning.track.registry import CHAMPION
from tests.tuning.reported import confirmed, searched


def logged(root: Path) -> tuple[Study, MlflowClient]:
    """A confirmed study, synced, with a note, a model and a run of its user's."""
    study, uri = confirmed(searched(root, (3, 3)), top=1, seeds=2), f"sqlite:///{root}/mlflow.db"
    champion, best = confirmed_run(study, None), best_trial(study.trials()["infonce"])
    assert champion is not None
    assert best is not None
    (champion.folder / BEST_FILE).write_bytes(b"the champion")
    (study.trials_folder / best.name / BEST_FILE).write_bytes(b"the best")
    Tracker(study, uri).sync(None)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study").experiment_id
    client.set_tag(run_of(client, best.name), "mlflow.note.content", "for the paper")
    client.create_logged_model(experiment, name="mine")
    client.create_run(experiment, run_name="mine")
    return study, client


def run_of(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name("study").experiment_id
    (run,) = client.search_runs([experiment], f"attributes.run_name = '{name}'")
    return run.info.run_id


@pytest.mark.parametrize("copied", [False, True])
def test_artifacts_are_where_the_folder_is(tmp_path: Path, copied: bool) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    study, client = logged(before)
    best = best_trial(study.trials()["infonce"])
    assert best is not None
    ids = {name: run_of(client, name) for name in (best.name, "mine")}
    if copied:
        shutil.copytree(before, after)
    else:
        before.rename(after)
    uri = f"sqlite:///{after}/mlflow.db"
    Tracker(open_study(Home(after), "study"), uri).sync(None)
    there = MlflowClient(uri)
    assert before.exists() is copied
    assert {name: run_of(there, name) for name in ids} == ids
    assert there.get_run(ids[best.name]).data.tags["mlflow.note.content"] == "for the paper"
    assert Path(there.get_run(ids[best.name]).info.artifact_uri).is_relative_to(after)
    assert Path(there.download_artifacts(ids[best.name], BEST_FILE)).read_bytes() == b"the best"
    there.log_text(ids["mine"], "more", "more.txt")
    assert list((after / "mlartifacts" / "study").glob("*/artifacts/more.txt"))
    champion = there.get_model_version_download_uri(
        "study", there.get_model_version_by_alias("study", CHAMPION).version
    )
    assert Path(champion.removeprefix("file://")).is_relative_to(after)
    (model,) = there.search_logged_models([there.get_experiment_by_name("study").experiment_id])
    assert str(after) in model.artifact_location
    if copied:
        assert not list(before.glob("**/more.txt"))
        assert Path(client.get_run(ids[best.name]).info.artifact_uri).is_relative_to(before)


def test_the_ui_shows_them_before_any_sync(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    _, client = logged(before)
    default_before = client.get_experiment_by_name("Default").artifact_location
    before.rename(after)
    follow_folder(after / "mlflow.db", after)
    client = MlflowClient(f"sqlite:///{after}/mlflow.db")
    experiment = client.get_experiment_by_name("study")
    assert experiment.artifact_location == str(after / "mlartifacts" / "study")
    runs = client.search_runs([experiment.experiment_id])
    assert all(Path(run.info.artifact_uri).is_relative_to(after) for run in runs)
    assert client.get_experiment_by_name("Default").artifact_location == default_before


def test_a_place_that_is_no_folder_of_ours_stays(tmp_path: Path) -> None:
    study, uri = searched(tmp_path, (0, 0)), f"sqlite:///{tmp_path}/mlflow.db"
    Tracker(study, uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    client.rename_experiment(experiment.experiment_id, "aside")
    client.delete_experiment_tag(experiment.experiment_id, "losstune.study_id")
    client.create_experiment("study", artifact_location="s3://bucket/own")
    Tracker(study, uri)
    assert client.get_experiment_by_name("study").artifact_location == "s3://bucket/own"
