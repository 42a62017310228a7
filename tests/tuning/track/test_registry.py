"""The confirmed winner in MLflow's registry, on MLflow's own SQLite store."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.track.mlflow_store import create_store
from losstune.tuning.track.registry import CHAMPION, register_champion
from losstune.tuning.track.runs import RUN_TAG
from tests.tuning.reported import confirmed, searched


def test_a_model_that_mlflow_can_not_log_is_registered_once_as_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = confirmed(searched(tmp_path, trials=(3, 3)), top=1, seeds=2)
    champion = confirmed_run(study, None)
    assert champion is not None
    (champion.folder / BEST_FILE).write_bytes(b"no model of torch's")
    create_store(tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("study", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    for _ in range(2):
        register_champion(client, uri, study, champion, run_id)
    (version,) = client.search_model_versions("name = 'study'")
    assert version.version == client.get_model_version_by_alias("study", CHAMPION).version
    assert version.tags[RUN_TAG] == champion.name
    assert Path(version.source.removeprefix("file://")).read_bytes() == b"no model of torch's"
    assert client.get_run(run_id).info.status == "FINISHED"
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith("note: the champion is registered as its checkpoint, because MLflow can not log it: ")
