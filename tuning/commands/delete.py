"""Removes a study for good."""

from losstune.tuning.study.study import Study, open_study, translating_failures
from losstune.tuning.track.mlflow_sync import delete_experiment


def delete_study(study: Study, tracking_uri: str) -> None:
    """Delete its files and its trials, and move its experiment to MLflow's trash.

    Raises:
        UserError: a launch holds the study.
    """
    with study.home.locked(study.spec.name) as home, translating_failures(home, study.spec.name):
        delete_experiment(study.spec.name, tracking_uri)
        open_study(home, study.spec.name).delete()
