"""Removes a study for good."""

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands.studies import held
from losstune.tuning.storage.home import Home
from losstune.tuning.track.experiment import delete_experiment
from losstune.tuning.track.mlflow_store import client_of, translating_mlflow_errors
from losstune.tuning.track.registry import retire_champion


def delete_study(home: Home, name: str, tracking_uri: str) -> list[int]:
    """Delete its files and its trials, and move its experiment to MLflow's trash.

    Returns the registered versions of its models: they stay, without losstune's aliases.

    Raises:
        UserError: there is no such study, a launch holds it, or MLflow does not answer: it is there then.
    """
    with held(home, name) as study:
        try:
            with translating_mlflow_errors(tracking_uri):
                client = client_of(tracking_uri)
                versions = retire_champion(client, study)
                delete_experiment(client, study)
        except UserError as error:
            raise UserError(
                f"study {name} is not deleted, the same command does so once MLflow answers: {error}"
            ) from None
        study.delete()
    return versions
