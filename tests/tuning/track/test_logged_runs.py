"""What MLflow has of a study: runs that its user deleted, for good or not, are there again after a sync."""

from mlflow.tracking import MlflowClient

from losstune.tuning.study.study import Study
from losstune.tuning.track.logged_runs import PARENT_TAG, REPLACED_TAG
from losstune.tuning.track.mlflow_sync import Tracker
from tests.tuning.track.test_mlflow_sync import runs


def test_runs_that_are_deleted_in_mlflow_are_restored_with_their_notes(logged: tuple[Study, str]) -> None:
    study, uri = logged
    client = MlflowClient(uri)
    before = {name: run.info.run_id for name, run in runs(client).items()}
    for name in ("infonce", "infonce-0001", "cosine-0000"):
        client.set_tag(before[name], "mlflow.note.content", f"seen: {name}")
        client.delete_run(before[name])
    Tracker(study, uri).sync(None)
    after = runs(client)
    assert {name: run.info.run_id for name, run in after.items()} == before
    assert after["infonce-0001"].data.tags["mlflow.note.content"] == "seen: infonce-0001"


def test_runs_that_are_gone_for_good_are_made_again_and_children_stay_with_their_loss(
    logged: tuple[Study, str],
) -> None:
    study, uri = logged
    client = MlflowClient(uri)
    before = runs(client)
    for name in ("infonce", "cosine-0000"):  # as `mlflow gc` leaves it
        client.delete_run(before[name].info.run_id)
        client._tracking_client.store._hard_delete_run(before[name].info.run_id)
    Tracker(study, uri).sync(None)
    after = runs(client)
    assert after.keys() == before.keys()
    for name, run in after.items():
        parent = name.partition("-")[0] if "-" in name else None
        assert run.data.tags.get(PARENT_TAG) == (after[parent].info.run_id if parent else None)
    assert after["cosine-0000"].data.metrics == before["cosine-0000"].data.metrics


def test_a_study_that_is_deleted_in_mlflow_is_there_again(logged: tuple[Study, str]) -> None:
    """What the tracker had deleted itself stays deleted, though MLflow restores all of an experiment."""
    study, uri = logged
    client = MlflowClient(uri)
    first = runs(client)
    replaced = first["cosine-0001"].info.run_id
    client.set_tag(replaced, REPLACED_TAG, "true")
    client.delete_run(replaced)
    Tracker(study, uri).sync(None)
    before = {name: run.info.run_id for name, run in runs(client).items()}
    assert before["cosine-0001"] != replaced
    client.delete_experiment(client.get_experiment_by_name("study").experiment_id)
    Tracker(study, uri).sync(None)
    assert {name: run.info.run_id for name, run in runs(client).items()} == before
    assert client.get_run(replaced).info.lifecycle_stage == "deleted"
    assert [file.path for file in client.list_artifacts(before["infonce"])] == ["study.yaml"]
