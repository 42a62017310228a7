"""URLs of SQLite files, as Optuna and SQLAlchemy themselves read them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.engine import URL

from losstune.tuning.storage.sqlite_url import sqlite_url
from tests.trainer.samples import refusal

ODD = ["what?", "My%20Data", "100%", "{old}", "{SCHEMA_VERSION}", "a{0}b", "}{", "a b+c", "#1;&=@:", "jürgen", "?%7B{%"]


@pytest.mark.parametrize("name", ODD)
def test_optuna_opens_the_very_file_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    (folder := tmp_path / name).mkdir()
    RDBStorage(sqlite_url(folder / "optuna.db")).create_new_study([StudyDirection.MAXIMIZE], "mse")
    with closing(sqlite3.connect(folder / "optuna.db")) as database:
        assert database.execute("SELECT study_name FROM studies").fetchall() == [("mse",)]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_ordinary_path_stands_in_it_as_it_is() -> None:
    assert sqlite_url(Path("/home/me/my studies/optuna.db")) == "sqlite:////home/me/my studies/optuna.db"


def test_a_path_that_sqlalchemy_can_not_be_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before 2.1, which writes a question mark as it is."""
    monkeypatch.setattr(URL, "render_as_string", lambda url: f"sqlite:///{url.database}")
    assert refusal(sqlite_url, Path("/what?/optuna.db")) == (
        "/what?/optuna.db: SQLAlchemy can not open a path with a '?'; rename that folder"
    )
