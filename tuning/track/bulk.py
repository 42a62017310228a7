"""Many ended runs at once, into MLflow's database where that is a file.

MLflow's own calls write a run in some ten transactions, each with its wait for the disk: a study of 2,000 trials takes
a quarter of an hour from nothing. So rows are written here, hundreds of runs a transaction, exactly as MLflow's calls
leave them; the test beside this module compares every table, and says so when MLflow has others.
"""

import math
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_batch_log_data

from losstune.tuning.track.batches import Batch

RUNS_AT_ONCE = 200
_LARGEST = 1.7976931348623157e308
_Row = tuple[object, ...]


@dataclass(frozen=True)
class NewRun:
    """A run that has ended and is not in MLflow yet; ``start`` and ``end`` in milliseconds."""

    name: str
    user: str
    status: str
    start: int
    end: int
    tags: Mapping[str, str]
    logged: Sequence[Batch]


def insert_runs(
    store: Path, experiment_id: str, location: str, runs: Sequence[NewRun], inputs: Sequence[DatasetInput]
) -> list[str]:
    """Write the runs, all or none; their ids.

    Args:
        store: MLflow's database file.
        location: of the experiment's artifacts.
        inputs: of every run.
    """
    ids = [uuid.uuid4().hex for _ in runs]
    with closing(sqlite3.connect(store, timeout=60)) as database, database:
        datasets = _datasets(database, experiment_id, inputs)
        for run_id, run in zip(ids, runs, strict=True):
            metrics, params, tags = _valid(run)
            place = append_to_uri_path(location, run_id, "artifacts")
            row = (run_id, run.name, run.user, run.status, run.start, run.end, place, int(experiment_id))
            database.execute(_RUN, row)
            database.executemany(_TAG, [(tag.key, tag.value, run_id) for tag in tags])
            database.executemany(_PARAM, [(param.key, param.value, run_id) for param in params])
            rows = [_metric_row(metric, run_id) for metric in metrics]
            database.executemany(f"INSERT OR IGNORE INTO metrics {_OF_METRIC}", rows)
            database.executemany(f"INSERT INTO latest_metrics {_OF_METRIC}", _latest(rows))
            for made in inputs:
                input_id = uuid.uuid4().hex
                database.execute(_INPUT, (input_id, datasets[made.dataset.name, made.dataset.digest], run_id))
                database.executemany(
                    "INSERT INTO input_tags (input_uuid, name, value) VALUES (?, ?, ?)",
                    [(input_id, tag.key, tag.value) for tag in made.tags],
                )
    return ids


_DATASETS = "SELECT name, digest, dataset_uuid FROM datasets WHERE experiment_id = ?"
_DATASET = (
    "INSERT OR IGNORE INTO datasets "
    "(dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source) VALUES (?, ?, ?, ?, ?, ?)"
)
_RUN = (
    "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, artifact_uri, experiment_id, "
    "source_type, source_name, entry_point_name, source_version, lifecycle_stage) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'UNKNOWN', '', '', '', 'active')"
)
_TAG = "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)"
_PARAM = "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)"
_INPUT = (
    "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) "
    "VALUES (?, 'DATASET', ?, 'RUN', ?, 0)"
)
_OF_METRIC = "(key, step, timestamp, value, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"


def _datasets(
    database: sqlite3.Connection, experiment_id: str, inputs: Sequence[DatasetInput]
) -> dict[tuple[str, str], str]:
    """MLflow's ids of the experiment's datasets by name and digest; those of the inputs are there afterwards.

    The runs of before may have others: the data's file has another name now, or an earlier release told none.
    """
    for made in (one.dataset for one in inputs):
        row = (uuid.uuid4().hex, int(experiment_id), made.name, made.digest, made.source_type, made.source)
        database.execute(_DATASET, row)
    known = database.execute(_DATASETS, (int(experiment_id),))
    return {(name, digest): dataset for name, digest, dataset in known}


def _valid(run: NewRun) -> tuple[list[Metric], list[Param], list[RunTag]]:
    """What is to be logged, checked and cut where it is too long as MLflow does it."""
    metrics = [metric for batch in run.logged for metric in batch["metrics"]]
    params = [param for batch in run.logged for param in batch["params"]]
    tags = [RunTag(name, value) for name, value in run.tags.items()]
    tags += [tag for batch in run.logged for tag in batch["tags"]]
    valid: tuple[list[Metric], list[Param], list[RunTag]] = _validate_batch_log_data(metrics, params, tags)
    return valid


def _metric_row(metric: Metric, run_id: str) -> _Row:
    """SQL has no NaN and no infinity: MLflow writes 0 and a mark, and the largest number."""
    nan = math.isnan(metric.value)
    value = 0.0 if nan else max(-_LARGEST, min(_LARGEST, metric.value))
    return metric.key, metric.step, metric.timestamp, value, nan, run_id


def _latest(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Of each name the one of the last step, then of the latest time, then the largest."""
    last: dict[object, _Row] = {}
    for row in rows:
        if row[0] not in last or row[1:4] > last[row[0]][1:4]:
            last[row[0]] = row
    yield from last.values()
