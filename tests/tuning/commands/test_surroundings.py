"""What a launch needs beside spaces and data is found missing, with nothing left behind."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands.launch import LaunchRequest
from losstune.tuning.commands.surroundings import check_surroundings
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution
from losstune.tuning.storage.home import Home, home_at
from tests.tuning.reported import searched


def request(
    home: Home, name: str = "study", address: str | None = None, tracking_uri: str | None = None
) -> LaunchRequest:
    return LaunchRequest([], None, name, home, Execution(Resources(None, 1, None), address, tracking_uri))


def refusal(wish: LaunchRequest) -> str:
    with pytest.raises(UserError) as refused:
        check_surroundings(wish)
    return str(refused.value)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nothing answers, nor anybody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_place_that_is_ready_stays_as_it_is(tmp_path: Path) -> None:
    assert check_surroundings(request(Home(tmp_path / "new"))) is False
    assert list(tmp_path.iterdir()) == []
    study = searched(tmp_path, (1, 1))
    before = sorted(tmp_path.rglob("*"))
    assert check_surroundings(request(study.home)) is True
    assert check_surroundings(request(study.home, name="")) is False
    assert sorted(tmp_path.rglob("*")) == before


def test_names_and_places_that_can_not_be(tmp_path: Path) -> None:
    assert refusal(request(Home(tmp_path), name="../x")).startswith("study name '../x': a name is 1 to 64 letters")
    (tmp_path / "file").touch()
    assert refusal(request(Home(tmp_path / "file"))) == (
        f"--storage {tmp_path}/file: {tmp_path}/file is no folder, and can not be written"
    )


def test_a_study_that_another_launch_holds(tmp_path: Path) -> None:
    study = searched(tmp_path, (1, 1))
    with study.home.trial_store("study").held():
        assert refusal(request(study.home)) == "a launch of study 'study' is running"


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg"])
def test_a_store_of_mlflow_that_does_not_answer(tmp_path: Path, nobody: str, scheme: str) -> None:
    uri = f"{scheme}://losstune:secret@{nobody}/mlflow"
    told = refusal(request(Home(tmp_path), tracking_uri=uri))
    assert told.startswith(f"MLflow's store {scheme}://losstune:***@{nobody}/mlflow can not be used: ")
    assert "secret" not in told


def test_a_database_and_a_cluster_that_do_not_answer(tmp_path: Path, nobody: str) -> None:
    with home_at(str(tmp_path), f"postgresql://losstune:secret@{nobody}/losstune") as home:
        told = refusal(request(home, name=""))
    assert told.startswith(f"--study-storage postgresql://losstune:***@{nobody}/losstune: can not be used: ")
    assert refusal(request(Home(tmp_path), address=nobody)).startswith(f"--address {nobody}: nothing answers at ")
