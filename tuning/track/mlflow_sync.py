"""Brings MLflow to what the truth says.

Live logging, ``losstune sync`` and rebuilding from nothing are one function, :meth:`Tracker.sync`. Names,
steps and timestamps all come from the truth, so that doing it again changes nothing.
"""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import LifecycleStage, Run
from optuna.storages import get_storage

from losstune.trainer.run.history import Record, read_history
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.study.study import Study
from losstune.tuning.track.batches import (
    EPOCH_METRIC,
    batches,
    content_of,
    epoch_points,
    params_of,
    points_of_model,
)
from losstune.tuning.track.bulk import RUNS_AT_ONCE, NewRun, insert_runs
from losstune.tuning.track.description import describe_experiment, describe_run, study_note
from losstune.tuning.track.experiment import runs_of, study_experiment
from losstune.tuning.track.mlflow_store import client_of, create_store, millis
from losstune.tuning.track.moved import ARTIFACTS, follow_artifacts
from losstune.tuning.track.provenance import USER_TAG, dataset_inputs, source_tags
from losstune.tuning.track.registry import register_champion
from losstune.tuning.track.runs import RUN_TAG, STUDY_TAG, Activity, RunPicture, study_picture
from losstune.tuning.track.tracking_uri import SQLITE

CONTENT_TAG = "losstune.content"
EPOCHS_TAG = "losstune.epochs"
PARENT_TAG = "mlflow.parentRunId"
RUN_NAME_TAG = "mlflow.runName"
REPLACED_TAG = "losstune.replaced"
"""On runs that the tracker has deleted itself; what else is in MLflow's trash of a study is restored."""
SERVER_WRITERS = 4
"""Runs at a time to a server or a database: each of a run's calls waits for its disk. ``mlflow server`` has as many
processes, and on SQLite, which writes one thing at a time, more of them would wait for each other."""
_FORMER_EPOCH_METRIC = "lr"
"""What epochs were counted by when it was a parameter and a metric alike; a run of then that goes on still is."""


@dataclass
class _Logged:
    """What MLflow is known to have of a run.

    Attributes:
        parent: the run that it is shown under.
        epochs: that it has for certain.
        reached: the highest epoch that it may have.
        content: that of the closed run, None while it is open.
        note: the description that it has or that its user has replaced.
    """

    run_id: str
    parent: str | None = None
    epochs: int = 0
    reached: int = 0
    params: bool = False
    content: str | None = None
    note: str = ""


class Tracker:
    """MLflow's picture of one study, in one experiment."""

    def __init__(self, study: Study, tracking_uri: str) -> None:
        """Connect, and read which runs exist, in MLflow's trash too: what a user has deleted there is restored."""
        self._study = study
        self._uri = tracking_uri
        place = None
        self._store: Path | None = None
        if tracking_uri.startswith(SQLITE):
            self._store = Path(tracking_uri.removeprefix(SQLITE))
            create_store(self._store)
            place = f"{study.home.where}/{ARTIFACTS}/{study.spec.name}"
        self._client = client_of(tracking_uri)
        self._storage = get_storage(study.storage())  # keeps what has ended: all is asked for again and again
        experiment = study_experiment(self._client, study, place)
        self._experiment = str(experiment.experiment_id)
        self._location = str(experiment.artifact_location)
        if self._store is not None and place is not None:
            follow_artifacts(self._store, self._experiment, self._location, place)
            self._location = str(self._client.get_experiment(self._experiment).artifact_location)
        self._described = ""
        self._logged: dict[str, _Logged] = {}
        self._trash: dict[str, Run] = {}
        self._take_in(list(runs_of(self._client, self._experiment)))

    def _take_in(self, runs: list[Run]) -> None:
        """Learn which runs there are; of two of one name, made twice as the first answer never arrived, keep one."""
        parents = {run.data.tags.get(PARENT_TAG) for run in runs}
        for run in sorted(runs, key=lambda run: run.info.run_id not in parents):  # the one that has children
            if (key := run.data.tags.get(RUN_TAG)) is None:
                continue  # a run of the user's own
            deleted = run.info.lifecycle_stage == LifecycleStage.DELETED
            replaced = REPLACED_TAG in run.data.tags
            if deleted and not replaced:
                self._trash.setdefault(key, run)
            elif not deleted and (replaced or key in self._logged):  # restored with its experiment, or made twice
                self._delete(run.info.run_id)
            elif not deleted:
                self._logged[key] = self._taken_in(run)

    def sync(self, activity: Activity | None) -> None:
        """Write what MLflow lacks; where nothing goes on, no run is left RUNNING, and the winner is registered."""
        shown = {}
        trials = self._study.trials(self._storage)
        self._study.files.update()  # after it: what has ended by then is whole in the files
        self._study.check_recorded(trials)  # before anything is deleted: of another storage MLflow would keep nothing
        new: list[RunPicture] = []
        others: list[RunPicture] = []
        for picture in study_picture(self._study, trials, activity):
            shown[picture.key] = picture
            if self._can_be_inserted(picture):
                new.append(picture)
            elif picture.parent is None:
                self._sync_run(picture)
            else:
                others.append(picture)
            if len(new) == RUNS_AT_ONCE:
                self._insert(new)
                new = []
        self._insert(new)
        self._sync_runs([picture for picture in others if not self._has(picture)])
        for key in self._logged.keys() - shown.keys():  # as of a storage that was put back to an earlier state
            self._delete(self._logged.pop(key).run_id)
        if (text := study_note(self._study)) != self._described:
            describe_experiment(self._client, self._experiment, text)
            self._described = text
        if activity is None and (champion := confirmed_run(self._study, None)) is not None:
            run_id, points = self._logged[champion.name].run_id, points_of_model(shown[champion.name])
            register_champion(self._client, self._uri, self._study, champion, run_id, points)

    def _can_be_inserted(self, picture: RunPicture) -> bool:
        """Whether a run is new, whole, and a plain row of a file: thousands of those come at once."""
        is_new = picture.key not in self._logged and picture.key not in self._trash
        whole = picture.parent is not None and picture.status != "RUNNING" and not picture.artifacts
        return self._store is not None and is_new and whole

    def _insert(self, pictures: list[RunPicture]) -> None:
        if self._store is None or not pictures:
            return
        runs, known = [], []
        for picture in pictures:
            records, params, content = _records(picture), params_of(picture), content_of(picture)
            points = [*epoch_points(records), *picture.points]
            closing = {**picture.tags, EPOCHS_TAG: str(len(records)), CONTENT_TAG: content}
            tags = {**self._tags(picture), RUN_NAME_TAG: picture.key}
            runs.append(
                NewRun(
                    name=picture.key,
                    user=tags.get(USER_TAG, "unknown"),
                    status=picture.status,
                    start=millis(picture.started),
                    end=millis(picture.finished or picture.started),
                    tags=tags,
                    logged=list(batches(points, params, closing)),
                )
            )
            epochs, parent = len(records), self._parent(picture)
            known.append(_Logged("", parent, epochs, epochs, params=bool(params), content=content))
        ids = insert_runs(self._store, self._experiment, self._location, runs, dataset_inputs(self._study))
        for picture, logged, run_id in zip(pictures, known, ids, strict=True):
            self._logged[picture.key] = replace(logged, run_id=run_id)

    def _has(self, picture: RunPicture) -> bool:
        """Whether MLflow has all of a closed run that stands below another."""
        logged = self._logged.get(picture.key)
        return logged is not None and (logged.parent, logged.content) == (self._parent(picture), content_of(picture))

    def _sync_runs(self, pictures: list[RunPicture]) -> None:
        """Runs whose parents are there, some at a time; the first error ends it, and no other run is begun."""
        failed = threading.Event()  # the pool alone would begin others until the runs before this one are written

        def write(picture: RunPicture) -> None:
            if failed.is_set():
                return
            try:
                self._sync_run(picture)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(1 if self._store is not None else SERVER_WRITERS) as pool:
            deque(pool.map(write, pictures), maxlen=0)

    def _sync_run(self, picture: RunPicture) -> None:
        logged = self._logged.get(picture.key) or self._restored(picture) or self._create(picture)
        parent = self._parent(picture)
        if logged.parent != parent:  # that one was deleted for good
            self._client.set_tag(logged.run_id, PARENT_TAG, parent)
            logged.parent = parent
        if picture.note != logged.note:
            describe_run(self._client, logged.run_id, picture.note)
            logged.note = picture.note
        content = content_of(picture)
        if logged.content == content:
            return
        records = _records(picture)
        if len(records) < logged.reached:  # trained again from an earlier state: what MLflow has more is no one's
            self._delete(logged.run_id)
            logged = self._create(picture)
        self._write(picture, logged, records, content)

    def _write(self, picture: RunPicture, logged: _Logged, records: list[Record], content: str) -> None:
        """What MLflow lacks of a run. Of one that is closed the files come first, and its content's tag comes last.

        MLflow writes a batch's tags after its metrics: a run that carries that tag has all of it.
        """
        closes = picture.status != "RUNNING"
        points = list(epoch_points(records[logged.epochs :]))
        tags: dict[str, str] = {}
        if closes:
            points += picture.points
            tags = {**picture.tags, EPOCHS_TAG: str(len(records)), CONTENT_TAG: content}
            for path in picture.artifacts:
                self._client.log_artifact(logged.run_id, str(path))
        params = {} if logged.params else params_of(picture)
        for batch in batches(points, params, tags):
            self._client.log_batch(logged.run_id, **batch)
        logged.params = logged.params or bool(params)
        logged.epochs = logged.reached = len(records)
        if closes:
            ended = millis(picture.finished or picture.started)
            self._client.set_terminated(logged.run_id, picture.status, end_time=ended)
        elif logged.content is not None:
            self._client.update_run(logged.run_id, status="RUNNING")
        logged.content = content if closes else None

    def _create(self, picture: RunPicture) -> _Logged:
        run = self._client.create_run(
            self._experiment, start_time=millis(picture.started), tags=self._tags(picture), run_name=picture.key
        )
        self._client.log_inputs(run.info.run_id, dataset_inputs(self._study))
        self._logged[picture.key] = _Logged(run.info.run_id, self._parent(picture))
        return self._logged[picture.key]

    def _tags(self, picture: RunPicture) -> dict[str, str]:
        """Those that a run has from its beginning."""
        tags = {STUDY_TAG: self._study.spec.name, RUN_TAG: picture.key, **picture.identity}
        tags |= source_tags(self._study, picture.started)
        parent = self._parent(picture)
        return tags if parent is None else {**tags, PARENT_TAG: parent}

    def _restored(self, picture: RunPicture) -> _Logged | None:
        """The run as its user has deleted it, with the user's notes and tags; None where it is not in the trash."""
        run = self._trash.pop(picture.key, None)
        if run is None:
            return None
        self._client.restore_run(run.info.run_id)
        self._logged[picture.key] = self._taken_in(run)
        return self._logged[picture.key]

    def _delete(self, run_id: str) -> None:
        self._client.set_tag(run_id, REPLACED_TAG, "true")
        self._client.delete_run(run_id)

    def _parent(self, picture: RunPicture) -> str | None:
        return None if picture.parent is None else self._logged[picture.parent].run_id

    def _taken_in(self, run: Run) -> _Logged:
        """A run that an earlier tracker has made; one that it did not close may have less than its last epoch tells."""
        tags, run_id = run.data.tags, run.info.run_id
        content = tags.get(CONTENT_TAG) if run.info.status != "RUNNING" else None
        known = _Logged(run_id, tags.get(PARENT_TAG), params=bool(run.data.params), content=content)
        if content is not None:
            known.epochs = known.reached = int(tags.get(EPOCHS_TAG, 0))
        else:
            counted = [name for name in (EPOCH_METRIC, _FORMER_EPOCH_METRIC) if name in run.data.metrics]
            steps = [point.step for name in counted for point in self._client.get_metric_history(run_id, name)]
            known.reached = max(steps, default=0)
        return known


def _records(picture: RunPicture) -> list[Record]:
    return read_history(picture.history) if picture.history is not None else []
