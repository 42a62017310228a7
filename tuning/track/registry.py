"""The confirmed winner in MLflow's registry of models."""

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from mlflow import MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.study.study import Study
from losstune.tuning.track.experiment import STUDY_ID_TAG
from losstune.tuning.track.mlflow_store import default_store, millis
from losstune.tuning.track.runs import RUN_TAG, STUDY_TAG

CHAMPION = "champion"
ALIASED_TAG = "losstune.champion"
"""On a registered model: the version that the alias was given to last. Where a user has moved it since, it stays."""


def register_champion(client: MlflowClient, tracking_uri: str, study: Study, champion: ConfirmRun, run_id: str) -> None:
    """Put the confirmed winner's model into the registry, under the study's name and the alias champion, once.

    Args:
        champion: the run of the confirmation that stands for the winner.
        run_id: of that run in MLflow. It tells the winner from one of the same name in a study that was deleted.
    """
    name = study.spec.name
    with suppress(MlflowException):  # it is there already
        client.create_registered_model(name, tags={STUDY_TAG: name})
    of_this_run = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'", max_results=1)
    version = of_this_run[0] if of_this_run else _made(client, tracking_uri, study, champion, run_id)
    if client.get_registered_model(name).tags.get(ALIASED_TAG) != str(version.version):
        client.set_registered_model_alias(name, CHAMPION, str(version.version))
        client.set_registered_model_tag(name, ALIASED_TAG, str(version.version))


def retire_champion(client: MlflowClient, study: Study) -> list[int]:
    """Take the alias away from a study's registered versions, which stay; their numbers."""
    name = study.spec.name
    versions = [version for version in client.search_model_versions(f"name = '{name}'") if RUN_TAG in version.tags]
    own = [int(v.version) for v in versions if v.tags.get(STUDY_ID_TAG, study.spec.id) == study.spec.id]
    aliased = client.get_registered_model(name).aliases.get(CHAMPION, 0) if own else 0
    if int(aliased) in own:  # as text from a server, as a number from a database
        client.delete_registered_model_alias(name, CHAMPION)
    return sorted(own)


def _made(client: MlflowClient, tracking_uri: str, study: Study, champion: ConfirmRun, run_id: str) -> ModelVersion:
    tags = {RUN_TAG: champion.name, STUDY_ID_TAG: study.spec.id}
    with default_store(tracking_uri):  # a client looks there for the model of a version, whatever its own store is
        source, model_id = _logged(client, study, champion, run_id)
        return client.create_model_version(study.spec.name, source, run_id, tags=tags, model_id=model_id)


def _logged(client: MlflowClient, study: Study, champion: ConfirmRun, run_id: str) -> tuple[str, str | None]:
    """Log the champion to its run, as a model or else as its checkpoint; what registers it: a URI, and a model's id."""
    checkpoint = champion.folder / BEST_FILE
    study.files.keep(checkpoint)
    try:
        return _log_model(checkpoint, run_id)
    except Exception as error:  # whatever torch.export stumbles over in a model of the user's
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(f"note: the champion is registered as its checkpoint, because MLflow can not log it: {reason}")
        client.log_artifact(run_id, str(checkpoint))
        return f"{client.get_run(run_id).info.artifact_uri}/{BEST_FILE}", None
    finally:
        ended = champion.result()
        client.set_terminated(run_id, "FINISHED", end_time=millis(ended.finished if ended else None))


def _log_model(checkpoint: Path, run_id: str) -> tuple[str, str | None]:
    """Log a model to its run in a form that ``mlflow.pytorch.load_model`` opens without losstune; its URI and id."""
    import mlflow
    import mlflow.pytorch
    import numpy as np

    from losstune.trainer.run.predict import load_model  # with torch, which a tracker needs for this alone

    trained = load_model(checkpoint)
    example = np.zeros((2, *trained.input_shape), dtype=trained.input_dtype)
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pytorch.log_model(
            trained.model.cpu().eval(),
            name="model",
            input_example=example,
            pip_requirements=[f"torch=={version('torch')}"],
        )
    return str(logged.model_uri), logged.model_id
