"""The confirmed winner in MLflow's registry of models."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.storage.passwords import masked
from losstune.tuning.study.study import Study
from losstune.tuning.track.batches import metric_of
from losstune.tuning.track.description import champion_note, study_note
from losstune.tuning.track.experiment import STUDY_ID_TAG
from losstune.tuning.track.logged_model import ExportedModel, export_models, log_model
from losstune.tuning.track.mlflow_store import default_store
from losstune.tuning.track.runs import RUN_TAG, STUDY_TAG, MetricPoint

CHAMPION = "champion"
FOR_SEARCH = "champion-for-search"
"""Alias of the version that makes rows ready for an index: about the centre of a model trained so, of length one."""
ALIASED_TAG = "losstune."
"""On a registered model, before an alias: the version that it was given to last. Where a user moved it, it stays."""
FOR_SEARCH_TAG = "losstune.for_search"
"""On a version that has the alias :data:`FOR_SEARCH`."""
_NO_SUCH_CALL = "ENDPOINT_NOT_FOUND"
"""What MLflow's client says of a server that does not know a call."""


def register_champion(
    client: MlflowClient,
    tracking_uri: str,
    study: Study,
    champion: ConfirmRun,
    run_id: str,
    points: Sequence[MetricPoint],
) -> None:
    """Put the confirmed winner's model into the registry, under the study's name and the alias champion, once.

    Args:
        champion: the run of the confirmation that stands for the winner.
        run_id: of that run in MLflow. It tells the winner from one of the same name in a study that was deleted.
        points: of that run, those that are the model's too: it is found by them.
    """
    name = study.spec.name
    with suppress(MlflowException):  # it is there already
        client.create_registered_model(name, tags={STUDY_TAG: name}, description=study_note(study))
    of_this_run = _by_alias(client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"))
    if CHAMPION not in of_this_run:
        of_this_run = _by_alias(_made(client, tracking_uri, study, champion, run_id, points))
    for alias, made in of_this_run.items():
        if not made.description:
            client.update_model_version(name, str(made.version), description=champion_note(champion))
        if client.get_registered_model(name).tags.get(ALIASED_TAG + alias) != str(made.version):
            client.set_registered_model_alias(name, alias, str(made.version))
            client.set_registered_model_tag(name, ALIASED_TAG + alias, str(made.version))


def has_champion(client: MlflowClient, study: str) -> bool:
    """Whether a model of a study's name is registered, with the alias champion."""
    found = client.search_registered_models(f"name = '{study}'")
    return any(CHAMPION in model.aliases for model in found)


def retire_champion(client: MlflowClient, study: Study) -> list[int]:
    """Take the aliases away from a study's registered versions, which stay; their numbers."""
    name = study.spec.name
    versions = [version for version in client.search_model_versions(f"name = '{name}'") if RUN_TAG in version.tags]
    own = [int(v.version) for v in versions if v.tags.get(STUDY_ID_TAG, study.spec.id) == study.spec.id]
    aliases = client.get_registered_model(name).aliases if own else {}
    for alias in (CHAMPION, FOR_SEARCH):
        if int(aliases.get(alias, 0)) in own:  # as text from a server, as a number from a database
            client.delete_registered_model_alias(name, alias)
    return sorted(own)


def _by_alias(versions: Iterable[ModelVersion]) -> dict[str, ModelVersion]:
    """The newest version for each alias."""
    ordered = sorted(versions, key=lambda version: int(version.version))
    return {FOR_SEARCH if FOR_SEARCH_TAG in version.tags else CHAMPION: version for version in ordered}


def _made(
    client: MlflowClient,
    tracking_uri: str,
    study: Study,
    champion: ConfirmRun,
    run_id: str,
    points: Sequence[MetricPoint],
) -> list[ModelVersion]:
    """Register both ways of the champion, the plain one last: where it is, nothing is left to do."""
    tags = {RUN_TAG: champion.name, STUDY_ID_TAG: study.spec.id}
    versions = []
    with default_store(tracking_uri):  # a client looks there for the model of a version, whatever its own store is
        for uri, model_id, own_tags in _logged(client, tracking_uri, study, champion, run_id):
            if model_id is not None and FOR_SEARCH_TAG not in own_tags:  # the run has these; MLflow keeps a point once
                client.log_batch(run_id, metrics=[metric_of(point, model_id) for point in points])
            versions.append(
                client.create_model_version(study.spec.name, uri, run_id, tags=tags | own_tags, model_id=model_id)
            )
    return versions


def _logged(
    client: MlflowClient, tracking_uri: str, study: Study, champion: ConfirmRun, run_id: str
) -> list[tuple[str, str | None, dict[str, str]]]:
    """Log the champion to its run, as models or else as its checkpoint; what registers it: URI, model's id, tags.

    As its checkpoint for good only where that is for good: after a server that was down the next sync tries again.
    """
    checkpoint = champion.folder / BEST_FILE
    study.files.keep(checkpoint)
    with TemporaryDirectory() as folder:
        try:
            models = export_models(checkpoint, Path(folder))
        except Exception as error:  # whatever torch.export stumbles over in a model of the user's
            reason = (str(error) or type(error).__name__).splitlines()[0]
        else:
            try:
                return [_registrable(log_model(client, run_id, one), one) for one in models]
            except MlflowException as error:
                if error.error_code != _NO_SUCH_CALL:
                    raise
                reason = "its server is older than MLflow 3"
    note = f"note: the champion is registered as its checkpoint, because MLflow can not log it: {reason}"
    print(masked(note, tracking_uri))
    client.log_artifact(run_id, str(checkpoint))
    return [(f"{client.get_run(run_id).info.artifact_uri}/{BEST_FILE}", None, {})]


def _registrable(model_id: str, exported: ExportedModel) -> tuple[str, str, dict[str, str]]:
    return f"models:/{model_id}", model_id, {FOR_SEARCH_TAG: "true"} if exported.for_search else {}
