"""A finished study is damaged in one place, and launched again: it refuses, and says what disagrees."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands.launch import launch
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, open_study
from tests.conftest import without_tracker
from tests.tuning.conftest import request_for

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def original(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("original")
    with without_tracker():
        return launch(request_for(root, ray_address, "mse", max_epochs=3, trials=2), QUIET).study


@pytest.fixture
def study(original: Study, tmp_path: Path) -> Study:
    shutil.copytree(original.home.root / "studies", tmp_path / "studies")
    return open_study(Home(tmp_path), "study")


def refused(study: Study) -> str:
    with pytest.raises(UserError) as error:
        launch(request_for(study.home.root, None, trials=3), QUIET)
    return str(error.value)


def change_sql(study: Study, statement: str) -> None:
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        assert storage.execute(statement).rowcount > 0


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    assert change(before) != before
    path.write_text(change(before))


def test_a_value_that_changed_in_the_database(study: Study) -> None:
    change_sql(
        study, "UPDATE trial_user_attributes SET value_json = replace(value_json, '\"best\": 0.', '\"best\": 1.')"
    )
    text = refused(study)
    assert "optuna.db and the trials' own files do not agree, one of them is damaged:" in text
    assert f"{study.trials_folder / 'mse-0000' / 'history.jsonl'}: best value 0." in text
    assert "optuna.db says 1." in text
    assert f"moving the trial's folder out of {study.trials_folder} goes on with optuna.db alone" in text


def test_a_parameter_that_changed_in_the_database(study: Study) -> None:
    change_sql(study, "UPDATE trial_params SET param_value = 0.0123 WHERE param_name = 'lr' AND trial_id = 1")
    assert f"{study.trials_folder / 'mse-0000' / 'config.yaml'}: lr is 0.001, in optuna.db 0.0123" in refused(study)


def test_a_history_with_a_changed_digit_and_one_cut_short(study: Study) -> None:
    edit(
        study.trials_folder / "mse-0000" / "history.jsonl",
        lambda text: text.replace('"val/mrr": 0.', '"val/mrr": 1.', 1),
    )
    lines = (study.trials_folder / "mse-0001" / "history.jsonl").read_text().splitlines(keepends=True)
    (study.trials_folder / "mse-0001" / "history.jsonl").write_text("".join(lines[:-1]))
    text = refused(study)
    assert f"{study.trials_folder / 'mse-0000' / 'history.jsonl'}:1: damaged, not as it was written" in text
    assert f"{study.trials_folder / 'mse-0001' / 'history.jsonl'}: holds 2 epochs, optuna.db says 3" in text


def test_a_database_that_is_none(study: Study) -> None:
    path = study.folder / "optuna.db"
    with closing(sqlite3.connect(path)) as storage:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the log would stand in for what is damaged
    content = bytearray(path.read_bytes())
    content[4096:12288] = bytes(8192)
    path.write_bytes(content)
    assert refused(study).startswith(f"{path}: damaged (")


def test_a_trial_whose_folder_is_gone_does_not_stop_the_study(study: Study, ray_address: str, untracked: None) -> None:
    shutil.rmtree(study.trials_folder / "mse-0000")
    launch(request_for(study.home.root, ray_address, trials=3), QUIET)
    assert len(study.trials()["mse"]) == 3
