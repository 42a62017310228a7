"""What a study has left: in the database, in the bucket and in MLflow, read by other means than losstune's own."""

import json
from collections import defaultdict
from typing import Any

import boto3
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.integration.drivers import Team
from tests.reliability.studies import Leaderboard

Curves = dict[tuple[str, int], float]
"""A metric's value, by its name and epoch."""


def leaderboard(team: Team, study: str) -> Leaderboard:
    """Every trial with its parameters, rungs and end; all but the times."""
    return [
        (loss, t.number, t.params, t.state.name, t.intermediate_values, t.user_attrs.get("end"))
        for loss, trials in sorted(team.trials(study).items())
        for t in trials
    ]


def keys(uri: str) -> list[str]:
    """All keys below an ``s3://`` address, without the empty objects by which pyarrow marks folders."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = (entry["Key"] for page in pages for entry in page.get("Contents", []))
    return [key for key in found if not key.endswith("/")]


def stored_curves(team: Team, study: str) -> dict[str, Curves]:
    """Every epoch of every trial, from the parts of its history in the bucket.

    What a later worker wrote comes first, and what lies beyond the trial's end does not count.
    """
    store, bucket = boto3.client("s3"), team.storage.removeprefix("s3://").partition("/")[0]
    found: dict[str, Curves] = defaultdict(dict)
    ends = {
        f"{loss}-{t.number:04d}": t.user_attrs["end"]["epochs"]
        for loss, trials in team.trials(study).items()
        for t in trials
    }
    for key in sorted(keys(f"{team.storage}/studies/{study}/trials/")):  # …/LOSS-0007/000002-001-…/history-000001.jsonl
        trial, _, name = key.split("/")[-3:]
        if name.startswith("history-"):
            for line in store.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines():
                record = json.loads(line)
                if record["epoch"] <= ends[trial]:
                    named = {"train/lr": record["lr"], **{m: v for m, v in record.items() if "/" in m}}
                    found[trial] |= {(m, record["epoch"]): v for m, v in named.items()}
    return dict(found)


def runs(team: Team, study: str) -> dict[str, Run]:
    """All runs that MLflow's server shows of a study, by name; no two have one."""
    client = _client(team)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found), sorted(run.info.run_name for run in found)
    return named


def shown_curves(team: Team, run: Run) -> Curves:
    """Every epoch of a run, read back from MLflow's server."""
    client = _client(team)
    return {
        (metric, point.step): point.value
        for metric in run.data.metrics
        if not metric.startswith(("best/", "confirmed/"))
        for point in client.get_metric_history(run.info.run_id, metric)
    }


def files(team: Team, run: Run) -> list[str]:
    """A run's artifacts, by MLflow's server."""
    return [file.path for file in _client(team).list_artifacts(run.info.run_id)]


def champion(team: Team, study: str) -> dict[str, Any]:
    """The tags of the model that is registered as the study's winner."""
    return dict(_client(team).get_model_version_by_alias(study, "champion").tags)


def _client(team: Team) -> MlflowClient:
    return MlflowClient(team.tracking, registry_uri=team.tracking)
