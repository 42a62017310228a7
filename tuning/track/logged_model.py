"""A run's model in MLflow, in a form that ``mlflow.pytorch.load_model`` opens without losstune.

First it is exported, here alone, which a model of the user's may not allow; then it is logged by calls of a client.
``mlflow.pytorch.log_model`` does both in one, so that nobody could tell a model that can not be exported from a server
that is down; and it takes the run and the experiment that are active in the process, which may be its user's.
"""

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.tracking import MlflowClient

from losstune.tuning.track.provenance import USER_TAG

if TYPE_CHECKING:  # it loads what only a champion needs
    from mlflow.models import Model

_SOURCE = "mlflow.source."


@dataclass(frozen=True)
class ExportedModel:
    """A model in a folder, in MLflow's form.

    Attributes:
        name: what MLflow is to call it.
        for_search: whether it makes rows ready for an index.
        description: what its file ``MLmodel`` says, which names its run once it has one.
    """

    name: str
    for_search: bool
    folder: Path
    description: "Model"


def export_models(checkpoint: Path, folder: Path) -> list[ExportedModel]:
    """A checkpoint's model for search, where it knows its centre, and plain, each in a folder below this one.

    An example of two rows, because torch exports a single one as the only number of rows there is.

    Raises:
        Exception: whatever torch stumbles over in a model of the user's.
    """
    import mlflow.pytorch
    import numpy as np
    from mlflow.models import Model

    from losstune.trainer.run.served import ServedModel
    from losstune.trainer.run.trained_model import load_model  # with torch, which a tracker needs for this alone

    trained = load_model(checkpoint)
    example = np.zeros((2, *trained.input_shape), dtype=trained.input_dtype)
    exported = []
    for name, for_search in (("model-for-search", True), ("model", False)):
        if trained.knows_center or not for_search:
            one = ExportedModel(name, for_search, folder / name, Model())
            mlflow.pytorch.save_model(
                ServedModel(trained, for_search=for_search).cpu().eval(),
                one.folder,
                mlflow_model=one.description,
                input_example=example,
                pip_requirements=[f"torch=={version('torch')}"],
            )
            exported.append(one)
    return exported


def log_model(client: MlflowClient, run_id: str, exported: ExportedModel) -> str:
    """Log a model to its run, with the run's parameters and what it comes from; its id.

    Raises:
        MlflowException: the server is down, or knows no models of runs, as one of MLflow 2.
    """
    from mlflow.models.model import MLMODEL_FILE_NAME

    run = client.get_run(run_id)
    source = {name: tag for name, tag in run.data.tags.items() if name == USER_TAG or name.startswith(_SOURCE)}
    made = client.create_logged_model(run.info.experiment_id, exported.name, run_id, source, run.data.params)
    description = exported.description
    description.run_id, description.artifact_path = run_id, made.artifact_location
    description.model_id = description.model_uuid = made.model_id
    description.save(str(exported.folder / MLMODEL_FILE_NAME))
    try:
        client.log_model_artifacts(made.model_id, str(exported.folder))
    except Exception:
        with suppress(Exception):  # what has no files is not to be shown
            client.delete_logged_model(made.model_id)
        raise
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    return str(made.model_id)
