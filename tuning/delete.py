"""Removes a study for good."""

from tuning.lock import locked
from tuning.study import Study, delete_folder
from tuning.tracking import delete_experiment


def delete_study(study: Study, tracking_uri: str) -> None:
    """Delete its folder, and move its experiment to MLflow's trash.

    Raises:
        UserError: a launch holds the study.
    """
    with locked(study.root, study.spec.name):
        delete_experiment(study.spec.name, tracking_uri)
        delete_folder(study.root, study.spec.name)
