"""The address of MLflow's store, and what of it is refused."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.storage.home import Home
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.tracking_uri import TRACKING_URI, tracking_option, tracking_uri_of
from tests.trainer.samples import refusal
from tests.tuning.reported import searched


def test_mlflows_store_is_beside_the_studies_unless_one_is_given(tmp_path: Path) -> None:
    assert tracking_uri_of(Home(tmp_path), None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri_of(Home(tmp_path), "http://mlflow") == "http://mlflow"


@pytest.mark.parametrize(("name", "found"), [("what?", "?"), ("My%20Data", "%20"), ("a%3fb", "%3f")])
def test_a_folder_that_mlflow_would_not_find_again_is_refused(tmp_path: Path, name: str, found: str) -> None:
    assert refusal(tracking_uri_of, Home(tmp_path / name), None) == (
        f"--storage {tmp_path / name}: MLflow can not keep its runs in a folder with '{found}' in its path: a '?', "
        "and a '%' before two hexadecimal digits, mean something else to it; rename the folder, or name a store "
        "elsewhere with --tracking-uri"
    )
    assert tracking_uri_of(Home(tmp_path / name), "http://mlflow") == "http://mlflow"


@pytest.mark.parametrize("name", ["{old}", "100%", "a b", "jürgen#1;&=@"])
def test_mlflow_keeps_its_runs_and_their_files_in_any_other_folder(tmp_path: Path, name: str) -> None:
    study = searched(tmp_path / name, (1, 0))
    (study.trials_folder / "infonce-0000" / "best.pt").write_bytes(b"weights")
    uri = tracking_uri_of(study.home, None)
    Tracker(study, uri).sync(None)
    client = MlflowClient(uri)
    (run,) = client.search_runs(["1"], "attributes.run_name = 'infonce-0000'")
    assert {found.path for found in client.list_artifacts(run.info.run_id)} >= {"best.pt"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_bucket_alone_can_not_keep_mlflows_runs(tmp_path: Path) -> None:
    home = Home(tmp_path, bucket=Bucket("team", "studies"))
    with pytest.raises(UserError) as refused:
        tracking_uri_of(home, None)
    assert str(refused.value) == (
        f"--storage {home.bucket} needs --tracking-uri: MLflow can not keep its runs in a bucket alone"
    )


@pytest.mark.parametrize(
    "given", ["mlruns", "/data/mlruns", "file:///data/mlruns", "sqlite:runs.db", "sqlite://runs.db"]
)
def test_what_mlflow_could_not_write_to_is_refused_before_any_training(tmp_path: Path, given: str) -> None:
    assert refusal(tracking_uri_of, Home(tmp_path), given) == (
        f"--tracking-uri {given}: expected the address of a server, http://HOST:PORT, or of a database, "
        "sqlite:///PATH/mlflow.db or postgresql://…; MLflow keeps no new runs in a folder of files"
    )


def test_a_database_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    there, missing = f"sqlite:///{tmp_path}/runs.db", f"sqlite:///{tmp_path}/missing/runs.db"
    assert tracking_uri_of(Home(tmp_path), there) == there
    assert tracking_uri_of(Home(tmp_path), "sqlite:///runs.db") == "sqlite:///runs.db"
    assert tracking_uri_of(Home(tmp_path / "missing"), missing) == missing  # a first launch makes that one
    wrong = f"--tracking-uri {missing}: there is no folder {tmp_path}/missing"
    assert refusal(tracking_uri_of, Home(tmp_path), missing) == wrong


@pytest.mark.parametrize("given", ["databricks", "databricks://profile", "https://mlflow", "mysql+pymysql://db/runs"])
def test_other_stores_of_mlflows_are_its_own_affair(tmp_path: Path, given: str) -> None:
    assert tracking_uri_of(Home(tmp_path), given) == given


def test_a_folder_of_files_is_taken_where_mlflow_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    given = str(tmp_path / "mlruns")
    assert tracking_uri_of(Home(tmp_path), given) == given
    Tracker(study := searched(tmp_path, (1, 0)), given).sync(None)
    (experiment,) = MlflowClient(given).search_experiments(filter_string=f"name = '{study.spec.name}'")
    assert {run.info.run_name for run in MlflowClient(given).search_runs([experiment.experiment_id])} > {"infonce-0000"}


def test_the_option_that_brings_a_command_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_option(None) == ""
    assert tracking_option("sqlite:///my runs.db") == " --tracking-uri 'sqlite:///my runs.db'"
    assert tracking_option("http://me:secret@mlflow") == " --tracking-uri 'http://me:***@mlflow'"
    monkeypatch.setenv(TRACKING_URI, "http://me:secret@mlflow")
    assert tracking_option("http://me:secret@mlflow") == ""
