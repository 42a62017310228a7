"""What studies look like from outside, for people and for programs."""

import io
import json
import sqlite3
import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from rich.console import Console, RenderableType
from sqlalchemy import make_url

from losstune.trainer.base.errors import UserError
from losstune.tuning.show.status import (
    WATCH_SECONDS,
    list_json,
    list_table,
    status_json,
    status_table,
    watch_status,
)
from losstune.tuning.storage.database import Database
from losstune.tuning.storage.database_store import DatabaseStore
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.trial_store import OWNER
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from tests.conftest import Command
from tests.trainer.samples import refusal
from tests.tuning.reported import searched
from tests.tuning.study.created import created


def printed(shown: RenderableType) -> str:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def listed(home: Home) -> str:
    return printed(list_table(list_json(home), home.where))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = searched(tmp_path, trials=(4, 0))
    why = Dropped("cosine", 0.3, 0.35, 0.0, 50, "infonce", 0.4, 100, 200, "epochs")
    LossTrials(study.storage(), "cosine", study.spec.search_spaces()["cosine"]).drop(why.to_dict())
    return study


def test_a_row_for_each_loss_its_best_setting_and_what_was_dropped(study: Study) -> None:
    lines = [line.split() for line in printed(status_table(study)).splitlines()]
    assert " ".join(lines[0]) == "study study, no launch is running"
    # 0 and 3 used 9 epochs, 1 diverged after 3, 2 failed after 1
    best = max(study.trials()["infonce"], key=lambda trial: trial.rank_value)
    assert ["infonce", "0", "1", "2", "1", "22", f"{best.rank_value:.4f}"] in lines
    assert ["cosine", "0", "0", "0", "0", "0", "-"] in lines
    assert lines[-3][0] == f"{best.name}:"
    assert " ".join(lines[-2]).startswith("Dropped: cosine after 50 epochs: best 0.3000")
    assert " ".join(lines[-1]) == (
        "Without a value: diverged (1 trial of infonce); "
        "ValueError: <script>window.hacked = 1</script> (1 trial of infonce)"
    )


def test_the_loss_with_the_best_trial_comes_first(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(0, 5))
    assert list(study.trials()) == ["infonce", "cosine"]
    rows = [line.split()[0] for line in printed(status_table(study)).splitlines()]
    assert [row for row in rows if row in study.trials()] == ["cosine", "infonce"]


def test_values_from_a_sample_are_said_to_be_estimates(study: Study) -> None:
    assert "estimate" not in printed(status_table(study))
    settings = study.spec.settings.model_copy(update={"eval_queries": 1024})
    sampled = replace(study, spec=study.spec.model_copy(update={"settings": settings}))
    note = "A trial's val/mrr is an estimate from 1,024 validation rows; a confirmation scores all"
    assert printed(status_table(sampled)).count(note) == 1


def test_what_an_earlier_release_told_optuna_of_pruned_trials_is_said(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(8, 5))
    assert "earlier release" not in printed(status_table(study))
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        pruned = "SELECT trial_id FROM trials WHERE state = 'PRUNED'"
        gone = storage.execute(f"DELETE FROM trial_values WHERE trial_id IN ({pruned})").rowcount
    assert gone == 4
    assert " ".join(printed(status_table(study)).split()).endswith(
        "An earlier release left 4 pruned trials without a value in Optuna's storage, which keeps an ended trial as it "
        "is: Optuna's dashboard and data frames show none of them, losstune counts all."
    )


def test_a_watched_study_is_followed_until_its_launch_is_over(study: Study) -> None:
    console = Console(width=120, file=io.StringIO())
    waits: list[float] = []
    with ExitStack() as launch, console.capture() as capture:
        launch.enter_context(study.home.trial_store("study").held())

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                launch.close()

        watch_status(study, console, wait)
    assert waits == [WATCH_SECONDS] * 3
    best = max(study.trials()["infonce"], key=lambda trial: trial.rank_value)
    assert capture.get().splitlines() == [
        f"infonce: 0 running, 1 pruned, 2 done, 1 failed, 22 epochs, best val/mrr {best.rank_value:.4f} ({best.name})",
        "cosine: 0 running, 0 pruned, 0 done, 0 failed, 0 epochs, no value yet",
    ]


@pytest.fixture
def terminal() -> Console:
    return Console(width=120, file=io.StringIO(), force_terminal=True)


def test_a_watched_study_is_opened_once_and_read_as_often_as_it_is_looked_at(
    study: Study, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Study] = []
    read: list[int] = []
    storage, trials = Study.storage, Study.trials
    monkeypatch.setattr(Study, "storage", lambda one: opened.append(one) or storage(one))
    monkeypatch.setattr(Study, "trials", lambda one, *_: read.append(threading.get_ident()) or trials(one, *_))
    waits: list[float] = []
    with ExitStack() as launch:
        launch.enter_context(study.home.trial_store("study").held())

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                launch.close()

        watch_status(study, terminal, wait)
    assert len(opened) == 1
    assert read == [threading.get_ident()] * 5  # at the start, after each wait, and what stays at the end
    assert isinstance(terminal.file, io.StringIO)
    assert "study study, a launch is running" in terminal.file.getvalue()
    assert "study study, no launch is running" in terminal.file.getvalue()


def test_a_storage_that_can_not_be_read_any_more_ends_the_watch(
    study: Study, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("can not be read")

    with (
        study.home.trial_store("study").held(),
        pytest.raises(UserError, match="can not be read"),
    ):
        watch_status(study, terminal, lambda _: monkeypatch.setattr(Study, "trials", fail))
    assert isinstance(terminal.file, io.StringIO)
    shown = terminal.file.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back


def test_a_launch_that_runs_is_seen(study: Study) -> None:
    with study.home.trial_store("study").held():
        assert "study study, a launch is running" in printed(status_table(study))
        assert status_json(study)["running"] is True
    assert status_json(study)["running"] is False


def test_json_has_every_trial_with_its_end(study: Study) -> None:
    told = json.loads(json.dumps(status_json(study), allow_nan=False))
    assert (told["study"], told["data"], told["settings"]["max_epochs"]) == ("study", "digits", 9)
    infonce, cosine = told["losses"]["infonce"], told["losses"]["cosine"]
    assert [(one["state"], one["epochs"]) for one in infonce["trials"]] == [
        ("complete", 9),
        ("pruned", 3),
        ("failed", 1),
        ("complete", 9),
    ]
    assert infonce["trials"][1]["reason"] == "diverged"
    assert (infonce["complete"], infonce["pruned"], infonce["failed"], infonce["epochs"]) == (2, 1, 1, 22)
    assert infonce["best"] == max(infonce["trials"], key=lambda one: one["value"] or 0)
    assert told["best"] == {**infonce["best"], "loss": "infonce", "loss_fn": "infonce"}  # as confirm --json has it
    assert (cosine["best"], cosine["trials"]) == (None, [])
    assert told["dropped"][0]["loss_fn"] == "cosine"


def test_a_line_for_each_study_here(study: Study) -> None:
    (row,) = list_json(study.home)
    assert (row["study"], row["losses"], row["trials"], row["running"]) == ("study", ["infonce", "cosine"], 4, False)
    assert row["best_trial"].startswith("infonce-")
    line = next(line for line in listed(study.home).splitlines() if "infonce, cosine" in line)
    assert f"{row['best']:.4f} {row['best_trial']}" in line


def test_a_study_whose_trials_are_in_a_database_does_not_hide_the_others(study: Study) -> None:
    other = created(study.home.root, name="shared")
    Study(other.home, other.spec.model_copy(update={"trials_in": "database"})).save()
    shared, own = sorted(list_json(study.home), key=lambda row: str(row["study"]))
    assert (own["study"], own["trials"]) == ("study", 4)
    assert shared == {
        **{"study": "shared", "created": other.spec.created, "losses": ["mse"]},
        **{"trials": None, "best": None, "best_trial": None, "running": None, "error": None},
    }
    line = next(line for line in listed(study.home).splitlines() if "shared" in line)
    assert "elsewhere" in line


def test_a_study_that_can_not_be_read_hides_no_other(study: Study, losstune: Command) -> None:
    torn, empty = created(study.home.root, name="torn"), created(study.home.root, name="untold")
    (torn.folder / "study.yaml").write_text("name: [")
    (empty.folder / "optuna.db").write_bytes(b"not a database")
    ended = losstune("list", "--storage", str(study.home.root))
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.split()}
    assert " 4 " in rows["study"]
    assert "mse" in rows["untold"]
    assert "unreadable" in rows["untold"]
    assert "unreadable" in rows["torn"]
    first, second = ended.err.splitlines()
    assert first.startswith(f"error: {torn.folder}/study.yaml")
    assert f"{empty.folder}/optuna.db" in second
    assert ended.code == 2
    own = losstune("list", "--json", "--storage", str(study.home.root))
    told = {row["study"]: row for row in json.loads(own.out)}
    assert (told["study"]["trials"], told["study"]["error"]) == (4, None)
    assert (told["torn"]["trials"], f"error: {told['torn']['error']}") == (None, first)
    assert (own.err, own.code) == (ended.err, 2)


def test_a_damaged_study_hides_no_other_where_trials_are_in_a_database(tmp_path: Path) -> None:
    torn, other = created(tmp_path, name="torn"), created(tmp_path, name="whole")
    (torn.folder / "study.yaml").write_text("name: [")
    where = Home(tmp_path, database=Database(make_url("postgresql+psycopg://none@127.0.0.1:1/none")))
    damaged, whole = list_json(where)
    assert damaged["error"].startswith(f"{torn.folder}/study.yaml: damaged or edited")
    assert (whole["created"], whole["error"]) == (other.spec.created, None)


def test_a_study_whose_name_is_anothers_in_the_database_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(Database, "storage", lambda _: RDBStorage(f"sqlite:///{tmp_path}/shared/optuna.db"))
    monkeypatch.setattr(DatabaseStore, "is_held", lambda _: False)
    shared = Database(make_url("postgresql+psycopg://none@127.0.0.1:1/none"))
    for name in ("taken", "whole"):
        made = created(tmp_path, name=name)
        Study(made.home, made.spec.model_copy(update={"trials_in": "database"})).save()
    storage = shared.storage()
    other = storage.create_new_study([StudyDirection.MAXIMIZE], "taken/mse")
    storage.set_study_user_attr(other, OWNER, "of another place")
    taken, whole = list_json(Home(tmp_path, database=shared))
    assert "holds trials of another study 'taken'" in taken["error"]
    assert (whole["trials"], whole["running"], whole["error"]) == (0, False, None)
    down = Mock(side_effect=UserError("--study-storage: can not be used: connection refused"))
    monkeypatch.setattr(Database, "storage", down)
    assert refusal(list_json, Home(tmp_path, database=shared)) == "--study-storage: can not be used: connection refused"


def test_a_place_without_studies_has_an_empty_list(tmp_path: Path) -> None:
    assert list_json(Home(tmp_path)) == []
    assert "".join(listed(Home(tmp_path)).split()).startswith(f"studiesin{tmp_path}studycreated")
