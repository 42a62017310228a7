"""Brings MLflow to what the truth says. The only file that imports mlflow.

Live logging, ``losstune sync`` and rebuilding from nothing are one function, :meth:`Tracker.sync`. Names,
steps and timestamps all come from the truth, so that doing it again changes nothing.
"""

import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from trainer.loop import Record
from trainer.run_dir import BEST_FILE, CONFIG_FILE, HISTORY_FILE, read_config, read_history
from tuning.lock import is_locked
from tuning.study import Study, open_study
from tuning.trials import TrialView, best_trial

STUDY_TAG = "losstune.study"
LOSS_TAG = "losstune.loss"
TRIAL_TAG = "losstune.trial"
STATE_TAG = "losstune.state"
REASON_TAG = "losstune.reason"
EPOCHS_TAG = "losstune.epochs"
BEST_TAG = "losstune.best_epoch"
PARENT_TAG = "mlflow.parentRunId"
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
FOLLOW_SECONDS = 5.0

RunStatus = Literal["RUNNING", "FINISHED", "KILLED", "FAILED"]


@dataclass
class _Logged:
    """What MLflow is known to have of a trial."""

    run_id: str
    epochs: int = 0
    params: bool = False
    closed_as: tuple[RunStatus, str] | None = None


class Tracker:
    """MLflow's picture of one study: an experiment, a parent run for each loss, a child run for each trial."""

    def __init__(self, study: Study, tracking_uri: str) -> None:
        """Connect, and read which runs exist."""
        self._study = study
        self._client = MlflowClient(tracking_uri)
        self._local = tracking_uri.startswith("sqlite:")
        self._storage = study.storage()
        self._experiment = self._find_experiment()
        self._parents: dict[str, str] = {}
        self._children: dict[str, _Logged] = {}
        self._artifacts: dict[str, str] = {}
        for run in self._existing_runs():
            self._take_in(run)

    def sync(self, *, live: bool) -> None:
        """Write what MLflow lacks.

        Args:
            live: a launch is going on; otherwise no run is left RUNNING.
        """
        for loss_fn, trials in self._study.trials(self._storage).items():
            parent = self._parent(loss_fn, trials)
            for trial in trials:
                self._sync_trial(trial, parent, live=live)
            self._sync_parent(loss_fn, trials, parent, live=live)

    def _sync_parent(self, loss_fn: str, trials: list[TrialView], parent: str, *, live: bool) -> None:
        best = best_trial(trials)
        if live:
            return
        unfinished = any(trial.state in ("running", "paused") for trial in trials)
        if best is not None and best.ending is not None and best.ending.best is not None:
            self._client.log_metric(parent, "best", best.ending.best, timestamp=_millis(best.finished), step=0)
            self._client.set_tag(parent, "losstune.best_trial", best.name)
            self._log_artifacts(best)
        end = max((trial.finished or trial.started for trial in trials), default=time.time())
        self._client.set_terminated(parent, "KILLED" if unfinished else "FINISHED", end_time=_millis(end))

    def _sync_trial(self, trial: TrialView, parent: str, *, live: bool) -> None:
        logged = self._children.get(trial.name) or self._create_child(trial, parent)
        status = _status(trial, live=live)
        reason = trial.ending.reason if trial.ending else ""
        if logged.closed_as == (status, reason):
            return
        folder = self._study.trials_folder / trial.name
        if not logged.params and (folder / CONFIG_FILE).exists():
            self._log_params(logged.run_id, read_config(folder / CONFIG_FILE).settings)
            logged.params = True
        records = read_history(folder / HISTORY_FILE)
        self._log_epochs(logged.run_id, records[logged.epochs :])
        logged.epochs = len(records)
        if status == "RUNNING":
            if logged.closed_as is not None:
                self._client.update_run(logged.run_id, status="RUNNING")
                logged.closed_as = None
            return
        self._close(trial, logged, status, reason, records)

    def _close(self, trial: TrialView, logged: _Logged, status: RunStatus, reason: str, records: list[Record]) -> None:
        best = trial.ending.best if trial.ending else None
        metrics = []
        if best is not None and trial.ending is not None:
            metrics.append(Metric("best", best, _millis(trial.finished), trial.ending.best_epoch))
        tags = {STATE_TAG: trial.state, REASON_TAG: reason, EPOCHS_TAG: str(len(records))}
        self._client.log_batch(logged.run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items()])
        end = trial.finished or (records[-1]["time"] if records else trial.started)
        self._client.set_terminated(logged.run_id, status, end_time=_millis(end))
        logged.closed_as = (status, reason)

    def _log_params(self, run_id: str, settings: dict[str, Any]) -> None:
        params = [Param(name, str(value)) for name, value in settings.items()]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])

    def _log_epochs(self, run_id: str, records: list[Record]) -> None:
        metrics = [
            Metric(name, value, _millis(record["time"]), int(record["epoch"]))
            for record in records
            for name, value in record.items()
            if "/" in name or name == "lr"
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def _log_artifacts(self, best: TrialView) -> None:
        """The checkpoint and config of a loss's best trial."""
        assert best.ending is not None
        version = str(best.ending.best_epoch)
        if self._artifacts.get(best.name) == version:
            return
        run_id = self._children[best.name].run_id
        for name in (BEST_FILE, CONFIG_FILE):
            path = self._study.trials_folder / best.name / name
            if path.exists():
                self._client.log_artifact(run_id, str(path))
        self._client.set_tag(run_id, BEST_TAG, version)
        self._artifacts[best.name] = version

    def _parent(self, loss_fn: str, trials: list[TrialView]) -> str:
        if loss_fn not in self._parents:
            start = min((trial.started for trial in trials), default=time.time())
            tags = {STUDY_TAG: self._study.spec.name, LOSS_TAG: loss_fn}
            run = self._client.create_run(self._experiment, start_time=_millis(start), tags=tags, run_name=loss_fn)
            self._parents[loss_fn] = run.info.run_id
        return self._parents[loss_fn]

    def _create_child(self, trial: TrialView, parent: str) -> _Logged:
        tags = {
            STUDY_TAG: self._study.spec.name,
            LOSS_TAG: trial.loss_fn,
            TRIAL_TAG: trial.name,
            STATE_TAG: "running",
            PARENT_TAG: parent,
        }
        run = self._client.create_run(
            self._experiment, start_time=_millis(trial.started), tags=tags, run_name=trial.name
        )
        self._children[trial.name] = _Logged(run.info.run_id)
        return self._children[trial.name]

    def _find_experiment(self) -> str:
        name = self._study.spec.name
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "active":
            return str(found.experiment_id)
        place = f"{self._study.root.absolute()}/mlartifacts/{name}" if self._local else None
        return str(self._client.create_experiment(name, artifact_location=place, tags={STUDY_TAG: name}))

    def _existing_runs(self) -> Iterator[Run]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _take_in(self, run: Run) -> None:
        tags = run.data.tags
        if TRIAL_TAG not in tags:
            self._parents[tags[LOSS_TAG]] = run.info.run_id
            return
        logged = _Logged(run.info.run_id, params=bool(run.data.params))
        if run.info.status != "RUNNING":
            logged.closed_as = (run.info.status, tags.get(REASON_TAG, ""))
            logged.epochs = int(tags.get(EPOCHS_TAG, 0))
        self._children[tags[TRIAL_TAG]] = logged
        if BEST_TAG in tags:
            self._artifacts[tags[TRIAL_TAG]] = tags[BEST_TAG]


def delete_experiment(name: str, tracking_uri: str) -> None:
    """Move a study's experiment to MLflow's trash, under a name that leaves its own free."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(name)
    if found is not None:
        client.rename_experiment(found.experiment_id, f"{name} (deleted {time.strftime('%Y-%m-%d %H:%M:%S')})")
        client.delete_experiment(found.experiment_id)


def _status(trial: TrialView, *, live: bool) -> RunStatus:
    match trial.state:
        case "running":
            return "RUNNING" if live else "KILLED"
        case "paused":
            return "KILLED"
        case "complete":
            return "FINISHED"
        case "pruned":
            return "KILLED"
        case "failed":
            return "FAILED"


def _millis(seconds: float | None) -> int:
    return int((seconds or 0) * 1000)


def follow(study: Study, tracking_uri: str) -> None:
    """Sync until standard input ends, which it does when the launch has finished or died; then once more."""
    os.nice(19)
    tracker: Tracker | None = None
    while not select.select([sys.stdin], [], [], FOLLOW_SECONDS)[0]:
        try:
            tracker = tracker or Tracker(study, tracking_uri)
            tracker.sync(live=True)
        except Exception as error:  # a store that is down now may be up later; the last sync decides
            print(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            tracker = None
    (tracker or Tracker(study, tracking_uri)).sync(live=False)


def sync_study(study: Study, tracking_uri: str) -> None:
    """Bring MLflow to what the truth says now."""
    Tracker(study, tracking_uri).sync(live=is_locked(study.root, study.spec.name))


if __name__ == "__main__":
    follow(open_study(Path(sys.argv[1]), sys.argv[2]), sys.argv[3])
