"""Runs that are inserted are those that MLflow's own calls make, in every column of every table."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.run.history import history_line
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import plans
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.track import mlflow_sync
from losstune.tuning.track.mlflow_sync import Tracker
from tests.tuning.reported import confirmed, end, point_of, searched

CPU = "system/cpu_utilization_percentage"
WITHOUT_RUNS = {"alembic_version", "experiments", "experiment_tags", "model_versions", "registered_models"}
IDS = ("run_uuid", "artifact_uri", "dataset_uuid", "input_uuid", "source_id", "destination_id", "experiment_id")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Confirmed; a trial has numbers that SQL has not, a tag is too long."""
    study = confirmed(searched(tmp_path_factory.mktemp("root"), (5, 3)), top=1, seeds=2)
    for run in runs_of(study, next(plans(study))):  # for a run that began in 1970 MLflow takes the time of now
        run.finish(run.result().model_copy(update={"started": 5.0, "finished": 7.0}))
    records = [
        {"epoch": e, "time": 100.0 + e, "seconds": 0.1, "lr": 0.1, "train/loss": loss, "val/mrr": 0.1, CPU: 99.5}
        for e, loss in enumerate((1.0, math.inf, -math.inf, math.nan), start=1)
    ]
    (study.trials_folder / "infonce-0001" / HISTORY_FILE).write_text("".join(map(history_line, records)))
    return study


def tables(database: Path) -> dict[str, list[str]]:
    """Every row of every table that runs have a part in, run by run; ids are the runs' names, or left out."""
    with closing(sqlite3.connect(database)) as connection:
        names = dict(connection.execute("SELECT run_uuid, name FROM runs").fetchall())
        inputs = dict(connection.execute("SELECT input_uuid, destination_id FROM inputs").fetchall())
        found: dict[str, list[str]] = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table in WITHOUT_RUNS:
                continue
            cursor = connection.execute(f"SELECT * FROM {table}")
            columns = [column[0] for column in cursor.description]
            rows = []
            for row in cursor:
                told = {name: value for name, value in zip(columns, row, strict=True) if name not in IDS}
                ids = dict(zip(columns, row, strict=True))
                owner = ids.get("run_uuid") or ids.get("destination_id") or inputs.get(ids.get("input_uuid"))
                if told.get("key") == "mlflow.parentRunId":
                    told["value"] = names[told["value"]]
                rows.append(repr((names.get(owner), sorted(told.items()))))
            found[table] = sorted(rows)
    return found


def test_every_row_is_as_by_mlflows_own_calls(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inserted, logged = tmp_path / "inserted.db", tmp_path / "logged.db"
    Tracker(study, f"sqlite:///{inserted}").sync("confirm")
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "_can_be_inserted", lambda self, picture: False)
        Tracker(study, f"sqlite:///{logged}").sync("confirm")
    found, expected = tables(inserted), tables(logged)
    assert len(expected["runs"]) > 15
    assert found == expected
    before = tables(inserted)
    Tracker(study, f"sqlite:///{inserted}").sync("confirm")
    assert tables(inserted) == before


@pytest.mark.parametrize("before", ["data of another name", "a release that told no data"])
def test_runs_of_data_that_no_run_has_named_yet(before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss's run is there, with the data's former name or none, and new trials have ended before they are seen."""
    study = searched(tmp_path, (1, 0), data="ok.npz")
    inserted, logged = tmp_path / "inserted.db", tmp_path / "logged.db"
    with monkeypatch.context() as patch:
        if before == "a release that told no data":
            patch.setattr(mlflow_sync, "dataset_inputs", lambda study: [])
        for database in (inserted, logged):
            Tracker(study, f"sqlite:///{database}").sync(None)
    renamed = Study(study.home, study.spec.model_copy(update={"data_source": "ok2.npz"}))
    own = LossTrials(study.storage(), "infonce", study.spec.search_spaces()["infonce"])
    end(renamed, own, own.add(point_of("infonce", 0.5, 1), seed=1), 0.3)
    Tracker(renamed, f"sqlite:///{inserted}").sync(None)
    monkeypatch.setattr(Tracker, "_can_be_inserted", lambda self, picture: False)
    Tracker(renamed, f"sqlite:///{logged}").sync(None)
    found = tables(inserted)
    assert "ok2.npz (train)" in str(found["datasets"])
    assert found == tables(logged)


def test_where_artifacts_are_is_where_mlflow_looks(study: Study, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    Tracker(study, uri).sync("confirm")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.artifact_uri == f"{experiment.artifact_location}/{run.info.run_id}/artifacts"


def test_what_is_cut_short_is_not_there(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr(mlflow_sync, "RUNS_AT_ONCE", 2)
    tracker, real = Tracker(study, uri), mlflow_sync.insert_runs
    calls = []

    def fails(*arguments: object) -> list[str]:
        calls.append(arguments)
        if len(calls) == 2:
            arguments[3].append(arguments[3][0].__class__(**{**vars(arguments[3][0]), "tags": {"x" * 300: "too long"}}))
        return real(*arguments)

    monkeypatch.setattr(mlflow_sync, "insert_runs", fails)
    with pytest.raises(Exception, match="exceeds the maximum length"):
        tracker.sync("search")
    monkeypatch.undo()
    names = [run.info.run_name for run in MlflowClient(uri).search_runs(["1"])]
    assert sorted(names) == ["infonce", "infonce-0000", "infonce-0001"]
    Tracker(study, uri).sync("search")
    assert len(MlflowClient(uri).search_runs(["1"])) > 15
