"""The confirmed winner in MLflow's registry of models."""

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from mlflow import MlflowException
from mlflow.tracking import MlflowClient

from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.study.study import Study
from losstune.tuning.track.mlflow_store import default_store, millis
from losstune.tuning.track.runs import RUN_TAG, STUDY_TAG

CHAMPION = "champion"


def register_champion(client: MlflowClient, tracking_uri: str, study: Study, champion: ConfirmRun, run_id: str) -> None:
    """Put the confirmed winner's model into the registry, under the study's name and the alias champion, once.

    Args:
        champion: the run of the confirmation that stands for the winner.
        run_id: of that run in MLflow.
    """
    name = study.spec.name
    with suppress(MlflowException):
        if client.get_model_version_by_alias(name, CHAMPION).tags.get(RUN_TAG) == champion.name:
            return
    with suppress(MlflowException):  # it is there already
        client.create_registered_model(name, tags={STUDY_TAG: name})
    with default_store(tracking_uri):  # a client looks there for the model of a version, whatever its own store is
        source, model_id = _logged(client, study, champion, run_id)
        made = client.create_model_version(name, source, run_id, tags={RUN_TAG: champion.name}, model_id=model_id)
    client.set_registered_model_alias(name, CHAMPION, made.version)


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
