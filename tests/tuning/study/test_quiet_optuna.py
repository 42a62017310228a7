"""A program may have Optuna studies of its own: what it hears of them is its own affair."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import optuna
import pytest

from losstune.tuning.commands.program import open_study, report
from losstune.tuning.study.quiet_optuna import quiet_optuna
from tests.trainer.samples import refusal
from tests.tuning.reported import searched


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    optuna.logging.enable_propagation()
    yield
    optuna.logging.disable_propagation()
    optuna.logging.set_verbosity(before)


def test_its_level_is_the_users_again_after_an_error_too(caplog: pytest.LogCaptureFixture) -> None:
    @quiet_optuna()
    def makes_one() -> None:
        optuna.create_study()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        makes_one()
    assert caplog.records == []
    optuna.create_study()
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_its_level_is_the_users_again_where_blocks_of_two_threads_overlap() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(quiet_optuna())
    second.enter_context(quiet_optuna())
    first.close()
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    second.close()
    assert optuna.logging.get_verbosity() == optuna.logging.DEBUG


def test_a_study_is_made_and_read_without_a_word_of_optunas_and_leaves_its_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("losstune.tuning.commands.sync.sync_study", lambda *_: None)
    searched(tmp_path, (20, 4))
    study = open_study("study", storage=tmp_path)
    assert len(study.trials_dataframe()) == 24
    assert study.optuna("cosine").trials
    report(study, tmp_path / "report.html")
    assert [record for record in caplog.records if record.name.startswith("optuna")] == []
    assert optuna.logging.get_verbosity() == optuna.logging.DEBUG


def test_a_storage_that_fails_is_one_error_without_a_word_of_optunas(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = searched(tmp_path, (1, 1))
    with closing(sqlite3.connect(study.folder / "optuna.db")) as damaged:
        damaged.execute("ALTER TABLE trials RENAME COLUMN number TO nummer")
    assert "optuna.db: can not be read: (sqlite3.OperationalError) no such column" in refusal(study.trials)
    assert caplog.records == []
