"""The experiment of a study in MLflow: known by the study's id, whatever it is called there, also from the trash."""

import time
from collections.abc import Iterator

from mlflow.entities import Experiment, LifecycleStage, Run, ViewType
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError
from losstune.tuning.study.study import Study
from losstune.tuning.track.runs import STUDY_TAG
from losstune.tuning.track.view import view_tags

STUDY_ID_TAG = "losstune.study_id"


def study_experiment(client: MlflowClient, study: Study, place: str | None) -> Experiment:
    """The experiment of a study, made at the first time; one in MLflow's trash is restored, with all that it has.

    Args:
        place: the address of its artifacts where it is made, None where MLflow is to choose.

    Raises:
        UserError: the experiment of this name is another study's.
    """
    found = _find(client, study)
    if found is not None and not _may_be_of(found, study):
        if found.lifecycle_stage == LifecycleStage.ACTIVE and found.artifact_location != place:
            raise UserError(
                f"the experiment {found.name!r} is that of another study of this name; rename or delete it in MLflow, "
                "or give this study a --tracking-uri of its own"
            )
        _set_aside(client, found)  # it is from here, where that study is no more, or nobody has it
        found = None
    if found is None:
        return client.get_experiment(client.create_experiment(study.spec.name, place, _tags(study)))
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        client.restore_experiment(found.experiment_id)
        print(f"note: the experiment {found.name!r} was in MLflow's trash, and is restored")
    for name, value in _tags(study).items():
        if name not in found.tags:  # made before there was such a tag
            client.set_experiment_tag(found.experiment_id, name, value)
    return found


def delete_experiment(client: MlflowClient, study: Study) -> None:
    """Move the experiment of a study to MLflow's trash; what another study has under its name stays."""
    found = _find(client, study)
    if found is not None and _may_be_of(found, study) and found.lifecycle_stage == LifecycleStage.ACTIVE:
        _set_aside(client, found)


def shown_studies(client: MlflowClient) -> dict[str, str]:
    """The experiments of studies by name, the one that changed last first, with their ids."""
    newest = ["last_update_time DESC"]
    found = client.search_experiments(filter_string=f"tags.`{STUDY_TAG}` LIKE '%'", order_by=newest)
    return {experiment.name: experiment.experiment_id for experiment in found}


def runs_of(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """All runs of an experiment, in the trash too, the one that began first at first."""
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            run_view_type=ViewType.ALL,
            max_results=1000,
            page_token=token,
            order_by=["attributes.start_time ASC"],
        )
        yield from page
        token = page.token
        if not token:
            return


def _set_aside(client: MlflowClient, experiment: Experiment) -> None:
    """Move it to the trash under a name that leaves its own free: MLflow keeps names there too, and renames nothing."""
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        client.restore_experiment(experiment.experiment_id)
    deleted = f"{experiment.name} (deleted {time.strftime('%Y-%m-%d %H:%M:%S')})"
    client.rename_experiment(experiment.experiment_id, deleted)
    client.delete_experiment(experiment.experiment_id)


def _tags(study: Study) -> dict[str, str]:
    own_id = {STUDY_ID_TAG: study.spec.id} if study.spec.id else {}
    return {STUDY_TAG: study.spec.name, **own_id, **view_tags(study)}


def _find(client: MlflowClient, study: Study) -> Experiment | None:
    """By its id, where its user has renamed it too; else by name, as before there were ids, and in the trash."""
    if study.spec.id:
        tagged = client.search_experiments(filter_string=f"tags.`{STUDY_ID_TAG}` = '{study.spec.id}'", max_results=1)
        if tagged:
            return tagged[0]
    return client.get_experiment_by_name(study.spec.name)


def _may_be_of(experiment: Experiment, study: Study) -> bool:
    """Whether an experiment is a study's; one of before there were ids is whoever's has its name."""
    return experiment.tags.get(STUDY_ID_TAG, study.spec.id) == study.spec.id
