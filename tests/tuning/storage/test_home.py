"""Where studies live: what --storage and --study-storage take, what a hint says of them, and what nobody sees."""

import re
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.home import Home, home_at
from losstune.tuning.storage.study_files import BucketFiles, FolderFiles
from losstune.tuning.track.process import tracking_uri_of
from tests.conftest import Command

POSTGRES = "postgresql://me:ge%2Fheim@db.example:5433/studies"
SHOWN = "postgresql://me:***@db.example:5433/studies"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOSSTUNE_STORAGE", "LOSSTUNE_STUDY_STORAGE", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_is_a_folder_with_sqlite(tmp_path: Path) -> None:
    with home_at(str(tmp_path), None) as home:
        assert home == Home(tmp_path)
        assert home.where == str(tmp_path)
        assert home.files("first") == FolderFiles(tmp_path / "studies" / "first")
        assert home.lost == ""
        assert tracking_uri_of(home, None) == f"sqlite:///{tmp_path}/mlflow.db"
        assert tracking_uri_of(home, "http://x") == "http://x"
    with home_at("below", "") as home:
        assert home.where == str(Path.cwd() / "below")


def test_a_bucket_has_a_private_copy_for_the_time_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with home_at("s3://data/team/", POSTGRES) as home:
        assert home.where == "s3://data/team"
        files = home.files("first", "ab")
        assert isinstance(files, BucketFiles)
        assert str(files.bucket) == "s3://data/team/studies/first"
        assert tmp_path in files.folder.parents
        assert home.root.stat().st_mode & 0o077 == 0
        with pytest.raises(UserError, match=r"^--storage s3://data/team needs --tracking-uri: "):
            tracking_uri_of(home, None)
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_needs_a_database() -> None:
    with pytest.raises(UserError) as error, home_at("s3://data", None):
        pass
    assert str(error.value) == (
        "--storage s3://data needs --study-storage postgresql://…: SQLite can not be kept in a bucket"
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://me:geheim@host/db", "mysql://me:***@host/db"),
        ("postgresql://me:geheim@host", "postgresql://me:***@host"),
        ("postgresql+asyncpg://me:geheim@host/db", "postgresql+asyncpg://me:***@host/db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("geheim", "geheim"),
        ("postgresql://me:geheim@host:port/db", "postgresql://me:***@host:port/db"),
    ],
)
def test_other_databases_are_refused(address: str, shown: str) -> None:
    with pytest.raises(UserError) as error:
        database_at(address)
    expected = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    assert str(error.value) == f"--study-storage: found {shown}; expected {expected}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_database_is_known_by_its_address_and_never_shows_its_password(scheme: str) -> None:
    database = database_at(POSTGRES.replace("postgresql", scheme))
    assert database.uri == POSTGRES
    assert str(database) == SHOWN
    assert "heim" not in repr(Home(Path(), None, database))
    assert "heim" not in database.reason(OSError(f"no route to {POSTGRES}, password ge/heim or ge%2Fheim"))


def test_what_a_hint_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Home(Path()).options() == ""
    assert Home(Path("my studies")).options() == " --storage 'my studies'"
    with home_at("s3://data/team", POSTGRES) as home:
        assert home.options() == f" --storage s3://data/team --study-storage '{SHOWN}'"
        monkeypatch.setenv("LOSSTUNE_STUDY_STORAGE", POSTGRES)
        assert home.options() == " --storage s3://data/team"
        monkeypatch.setenv("LOSSTUNE_STORAGE", "s3://data/team")
        assert home.options() == ""


def test_a_child_finds_the_same_place(tmp_path: Path) -> None:
    for storage, database in ((str(tmp_path), None), ("s3://data/team", POSTGRES)):
        with home_at(storage, database) as home:
            told = home.environment()
        with home_at(told["LOSSTUNE_STORAGE"], told["LOSSTUNE_STUDY_STORAGE"]) as again:
            assert (again.where, again.database) == (home.where, home.database)


@pytest.mark.parametrize("command", [("ui",), ("sync", "x"), ("delete", "x"), ("launch", "mse", "--study", "x")])
def test_a_bucket_needs_a_tracking_uri_too(losstune: Command, command: tuple[str, ...]) -> None:
    ended = losstune(*command, "--storage", "s3://data/team", "--study-storage", POSTGRES)
    assert ended.code == 2
    assert ended.err == (
        "error: --storage s3://data/team needs --tracking-uri: MLflow can not keep its runs in a bucket alone\n"
    )


def test_a_server_that_is_not_there(losstune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSTUNE_STUDY_STORAGE", "postgresql://me:geheim@127.0.0.1:1/x")
    ended = losstune("launch", "mse", "--study", "x", "--storage", tmp_path)
    assert ended.code == 2
    shown = re.escape("postgresql://me:***@127.0.0.1:1/x")
    assert re.fullmatch(rf"error: --study-storage {shown}: can not be used: .*Connection refused\n", ended.err)
    assert list(tmp_path.iterdir()) == []


def test_a_server_has_a_ui_of_its_own(losstune: Command, tmp_path: Path) -> None:
    ended = losstune("ui", "--storage", tmp_path, "--tracking-uri", "http://me:geheim@host:5000")
    assert (
        ended.err
        == "error: --tracking-uri http://me:***@host:5000 is a server with a UI of its own: open that address\n"
    )
