"""Removes a study for good."""

from losstune.tuning.commands.studies import held
from losstune.tuning.storage.home import Home
from losstune.tuning.track.mlflow_store import delete_experiment


def delete_study(home: Home, name: str, tracking_uri: str) -> None:
    """Delete its files and its trials, and move its experiment to MLflow's trash.

    Raises:
        UserError: there is no such study, or a launch holds it.
    """
    with held(home, name) as study:
        delete_experiment(name, tracking_uri)
        study.delete()
