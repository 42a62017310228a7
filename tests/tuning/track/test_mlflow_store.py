"""MLflow's store: made whole or not at all, its errors told without a password."""

import errno
import os
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import mlflow
import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError
from losstune.tuning.track import mlflow_store
from losstune.tuning.track.mlflow_store import (
    create_store,
    default_store,
    millis,
    translating_mlflow_errors,
)


def test_a_store_that_was_cut_short_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_cut(uri: str) -> MlflowClient:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_store, "client_of", power_cut)
    with pytest.raises(KeyboardInterrupt):
        create_store(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_store_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"somebody's")
    create_store(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == b"somebody's"
    create_store(tmp_path / "no folder" / "mlflow.db")
    assert not (tmp_path / "no folder").exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_store_that_another_launch_makes_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Its runs are there already, and its connections go on writing to it; also on a disk without hard links."""
    path, real = tmp_path / "mlflow.db", mlflow_store.client_of

    def other_is_faster(uri: str) -> MlflowClient:
        monkeypatch.setattr(mlflow_store, "client_of", real)
        create_store(path)
        other.append(MlflowClient(f"sqlite:///{path}"))
        other[0].create_experiment("theirs")
        return real(uri)

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    other: list[MlflowClient] = []
    monkeypatch.setattr(mlflow_store, "client_of", other_is_faster)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    create_store(path)
    other[0].create_experiment("later")
    shown = MlflowClient(f"sqlite:///{path.parent}/./mlflow.db").search_experiments()  # with connections of its own
    assert {experiment.name for experiment in shown} == {"Default", "theirs", "later"}
    assert [file.name for file in tmp_path.iterdir() if ".tmp" in file.name] == []


@pytest.mark.parametrize("users", [None, "sqlite:///users.db"])
def test_the_default_store_is_the_users_again(users: str | None, tmp_path: Path) -> None:
    own = f"sqlite:///{tmp_path}/mlflow.db"
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    with default_store(users) if users else nullcontext():
        outside = mlflow.get_tracking_uri()
        with suppress(KeyboardInterrupt), default_store(own):
            assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == (own, own)
            raise KeyboardInterrupt
        assert mlflow.get_tracking_uri() == outside
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no route to postgresql://me:secret@db\nmore"), "no route to postgresql://me:***@db"),
        (OSError(), "OSError"),
    ],
)
def test_what_goes_wrong_is_one_line_without_a_password(error: OSError, reason: str) -> None:
    with pytest.raises(UserError) as told, translating_mlflow_errors("postgresql://me:secret@db"):
        raise error
    assert str(told.value) == f"MLflow's store postgresql://me:***@db can not be used: {reason}"


def test_the_users_own_calls_have_mlflow_s_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    patience = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    with suppress(UserError), translating_mlflow_errors("http://host"):
        assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 2 < patience
        assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 7
        raise OSError
    assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == patience
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 7


def test_a_program_that_looks_at_studies_keeps_its_patience(tmp_path: Path) -> None:
    names = [MLFLOW_HTTP_REQUEST_MAX_RETRIES.name, MLFLOW_HTTP_REQUEST_TIMEOUT.name]
    program = f"import losstune, os; losstune.studies(); print([name for name in {names} if name in os.environ])"
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_error_of_the_users_is_told_as_it_is() -> None:
    with pytest.raises(UserError, match=r"^plain$"), translating_mlflow_errors("sqlite:///mlflow.db"):
        raise UserError("plain")


@pytest.mark.parametrize(("seconds", "told"), [(None, 0), (0.0, 0), (1.2345, 1234)])
def test_times_in_milliseconds(seconds: float | None, told: int) -> None:
    assert millis(seconds) == told
