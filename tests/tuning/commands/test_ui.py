"""MLflow's UI: what it is started with, and what is refused; that it is on loopback only, test_exposure tells."""

import io
import re
import socket
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands import ui
from losstune.tuning.storage.home import Home
from losstune.tuning.track.mlflow_store import create_store
from losstune.tuning.track.registry import CHAMPION
from losstune.tuning.track.runs import STUDY_TAG


def test_it_is_started_on_the_right_store_and_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    class Process:
        returncode = 3

        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            started.append((command, env))

        def poll(self) -> int:
            return self.returncode

    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*")
    monkeypatch.setattr(ui.subprocess, "Popen", Process)
    (tmp_path / "mlflow.db").touch()
    said = io.StringIO()
    with socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # taken, but not by somebody who listens
        ours.bind(("127.0.0.1", 0))
        port = ours.getsockname()[1]
        assert ui.run_ui(Home(tmp_path), None, port, Console(file=said, width=200)) == 3
    ((command, environment),) = started
    assert f"--host 127.0.0.1 --port {port}" in " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS" not in environment
    assert said.getvalue() == f"MLflow on http://127.0.0.1:{port}  (Ctrl-C ends it)\n"
    Process.returncode = 0
    assert ui.run_ui(Home(tmp_path), None, 0, Console(file=said, width=200)) == 1
    named = re.findall(r"http://127.0.0.1:(\d+) ", said.getvalue())[-1]
    assert int(named) > 0
    assert f"--port {named} " in " ".join(started[-1][0])


def test_the_pages_of_each_study_are_named(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    create_store(tmp_path / "mlflow.db")
    client = MlflowClient(uri)
    client.create_experiment("mine")
    for number in range(7):
        made = client.create_experiment(f"study-{number}", tags={STUDY_TAG: f"study-{number}"})
    registered("study-6", client, CHAMPION)
    registered("study-5", client, "mine")
    *lines, more = ui._study_lines(uri, "http://127.0.0.1:5000")
    trials = f"http://127.0.0.1:5000/#/experiments/{made}/runs?workflowType=machine_learning&viewStateShareKey=losstune"
    assert lines[:4] == [
        "study-6",
        f"  trials  {trials}",
        f"  charts  {trials}&compareRunsMode=CHART",
        "  model   http://127.0.0.1:5000/#/models/study-6?workflowType=machine_learning",
    ]
    names = [line for line in lines if not line.startswith(" ")]
    assert names == [f"study-{number}" for number in (6, 5, 4, 3, 2)]
    assert [line for line in lines if "/models/" in line] == lines[3:4]
    assert more == "and 2 more"
    (tmp_path / "file").touch()
    assert ui._study_lines(f"sqlite:///{tmp_path}/file/mlflow.db", "") == []


def registered(study: str, client: MlflowClient, alias: str) -> None:
    client.create_registered_model(study)
    client.create_model_version(study, "file:///model")
    client.set_registered_model_alias(study, alias, "1")


def test_a_port_that_is_in_use_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(UserError) as refused:
            ui.run_ui(Home(tmp_path), None, port, Console(quiet=True))
    assert str(refused.value) == (
        f"--port {port} can not be used on 127.0.0.1: Address already in use; give another one, or --port 0 for any "
        "that is free"
    )


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (None, r"no mlflow.db in .*: launch a study first, or give --tracking-uri"),
        ("http://me:secret@host", r"--tracking-uri http://me:\*\*\*@host is a server with a UI of its own"),
    ],
)
def test_there_is_nothing_to_show(tmp_path: Path, uri: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ui.run_ui(Home(tmp_path), uri, 5000, Console(quiet=True))
