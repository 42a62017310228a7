"""Brings MLflow to what the truth says.

Live logging, ``losstune sync`` and rebuilding from nothing are one function, :meth:`Tracker.sync`. Names,
steps and timestamps all come from the truth, so that doing it again changes nothing.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from optuna.storages import get_storage

from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.run.history import Record, read_history
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.study.study import Study
from losstune.tuning.track.batches import (
    batches,
    content_of,
    epoch_points,
    params_of,
    points_of_model,
)
from losstune.tuning.track.bulk import RUNS_AT_ONCE, NewRun, insert_runs
from losstune.tuning.track.description import describe_experiment, describe_run, study_note
from losstune.tuning.track.experiment import study_experiment
from losstune.tuning.track.logged_runs import CONTENT_TAG, EPOCHS_TAG, PARENT_TAG, Logged, LoggedRuns
from losstune.tuning.track.mlflow_store import client_of, create_store, millis
from losstune.tuning.track.moved import ARTIFACTS, follow_artifacts
from losstune.tuning.track.provenance import USER_TAG, dataset_inputs, source_tags
from losstune.tuning.track.registry import register_champion
from losstune.tuning.track.runs import RUN_TAG, STUDY_TAG, Activity, RunPicture, study_picture
from losstune.tuning.track.tracking_uri import SQLITE

RUN_NAME_TAG = "mlflow.runName"
SERVER_WRITERS = 4
"""Runs at a time to a server or a database: each of a run's calls waits for its disk. ``mlflow server`` has as many
processes, and on SQLite, which writes one thing at a time, more of them would wait for each other."""


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
        self._runs = LoggedRuns(self._client, self._experiment)

    def sync(self, activity: Activity | None) -> None:
        """Write what MLflow lacks; where nothing goes on, no run is left RUNNING, and the winner is registered."""
        trials = self._study.trials(self._storage)
        self._study.files.update()  # after it: what has ended by then is whole in the files
        self._study.check_recorded(trials)  # before anything is deleted: of another storage MLflow would keep nothing
        shown = {picture.key: picture for picture in study_picture(self._study, trials, activity)}
        with shown_if_long("Runs to MLflow", len(shown)) as advance:
            self._sync_all(list(shown.values()), advance)
        for key in self._runs.by_key.keys() - shown.keys():  # as of a storage that was put back to an earlier state
            self._runs.delete(self._runs.by_key.pop(key).run_id)
        if (text := study_note(self._study)) != self._described:
            describe_experiment(self._client, self._experiment, text)
            self._described = text
        if activity is None and (champion := confirmed_run(self._study, None)) is not None:
            run_id, points = self._runs.by_key[champion.name].run_id, points_of_model(shown[champion.name])
            register_champion(self._client, self._uri, self._study, champion, run_id, points)

    def _sync_all(self, pictures: list[RunPicture], advance: Callable[[int], None]) -> None:
        """What MLflow lacks of some runs, parents before their children: new ones at once where that can be."""
        new: list[RunPicture] = []
        others: list[RunPicture] = []
        for picture in pictures:
            if self._can_be_inserted(picture):
                new.append(picture)
            elif picture.parent is None:
                self._sync_run(picture)
                advance(1)
            else:
                others.append(picture)
            if len(new) == RUNS_AT_ONCE:
                self._insert(new)
                advance(len(new))
                new = []
        self._insert(new)
        lacking = [picture for picture in others if not self._has(picture)]
        advance(len(new) + len(others) - len(lacking))
        self._sync_runs(lacking, advance)

    def _can_be_inserted(self, picture: RunPicture) -> bool:
        """Whether a run is new, whole, and a plain row of a file: thousands of those come at once."""
        whole = picture.parent is not None and picture.status != "RUNNING" and not picture.artifacts
        return self._store is not None and whole and self._runs.is_new(picture.key)

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
            known.append(Logged("", parent, epochs, epochs, params=bool(params), content=content))
        ids = insert_runs(self._store, self._experiment, self._location, runs, dataset_inputs(self._study))
        for picture, logged, run_id in zip(pictures, known, ids, strict=True):
            self._runs.by_key[picture.key] = replace(logged, run_id=run_id)

    def _has(self, picture: RunPicture) -> bool:
        """Whether MLflow has all of a closed run that stands below another."""
        logged = self._runs.by_key.get(picture.key)
        return logged is not None and (logged.parent, logged.content) == (self._parent(picture), content_of(picture))

    def _sync_runs(self, pictures: list[RunPicture], advance: Callable[[int], None]) -> None:
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
            for _ in pool.map(write, pictures):
                advance(1)

    def _sync_run(self, picture: RunPicture) -> None:
        logged = self._runs.by_key.get(picture.key) or self._runs.restored(picture.key) or self._create(picture)
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
            self._runs.delete(logged.run_id)
            logged = self._create(picture)
        self._write(picture, logged, records, content)

    def _write(self, picture: RunPicture, logged: Logged, records: list[Record], content: str) -> None:
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

    def _create(self, picture: RunPicture) -> Logged:
        run = self._client.create_run(
            self._experiment, start_time=millis(picture.started), tags=self._tags(picture), run_name=picture.key
        )
        self._client.log_inputs(run.info.run_id, dataset_inputs(self._study))
        self._runs.by_key[picture.key] = Logged(run.info.run_id, self._parent(picture))
        return self._runs.by_key[picture.key]

    def _tags(self, picture: RunPicture) -> dict[str, str]:
        """Those that a run has from its beginning."""
        tags = {STUDY_TAG: self._study.spec.name, RUN_TAG: picture.key, **picture.identity}
        tags |= source_tags(self._study, picture.started)
        parent = self._parent(picture)
        return tags if parent is None else {**tags, PARENT_TAG: parent}

    def _parent(self, picture: RunPicture) -> str | None:
        return None if picture.parent is None else self._runs.by_key[picture.parent].run_id


def _records(picture: RunPicture) -> list[Record]:
    return read_history(picture.history) if picture.history is not None else []
