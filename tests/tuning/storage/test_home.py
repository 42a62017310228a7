"""Where studies live: what --storage and --study-storage take, what a hint says of them, and what nobody sees."""

import re
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.home import Home, home_at
from losstune.tuning.storage.study_files import BucketFiles, FolderFiles
from losstune.tuning.study.study import open_study
from losstune.tuning.track.tracking_uri import tracking_uri_of
from tests.conftest import Command
from tests.trainer.samples import refusal
from tests.tuning.study.created import created

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


@pytest.mark.parametrize("name", ["a", "7", "first-study_2.1", "A" * 64])
def test_names_that_can_be_a_folder_s(name: str, tmp_path: Path) -> None:
    assert Home(tmp_path).folder(name) == tmp_path / "studies" / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "../../x",
        "/etc",
        "a/b",
        "a\\b",
        ".hidden",
        "-x",
        "_x",
        "a b",
        "a\n",
        "ä",
        "a\0",
        "a" * 65,
    ],
)
def test_names_that_can_not(name: str, tmp_path: Path) -> None:
    for call in (Home.folder, Home.trial_store, Home.files, open_study):
        assert refusal(call, Home(tmp_path), name) == (
            f"study name {name!r}: a name is 1 to 64 letters, digits, '.', '_' and '-', "
            "and starts with a letter or digit"
        )


def test_the_list_has_only_folders_with_a_spec(tmp_path: Path) -> None:
    assert Home(tmp_path).names() == []
    created(tmp_path, name="second")
    created(tmp_path, name="first")
    (tmp_path / "studies" / "empty").mkdir()
    assert Home(tmp_path).names() == ["first", "second"]


def test_a_study_is_held_for_the_time_of_a_block_and_its_folder_is_a_plain_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.locked("first") as held:
        assert held == home
        assert home.trial_store("first").is_held()
        assert "study 'first' is in use by process" in refusal(home.locked("first").__enter__)
    assert not home.trial_store("first").is_held()
    (tmp_path / "studies" / "second").symlink_to(tmp_path)
    assert "is a link" in refusal(home.locked("second").__enter__)
