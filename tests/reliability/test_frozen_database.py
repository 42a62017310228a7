"""PostgreSQL that freezes with its connections open, as on a machine whose disk hangs: one error, and nothing lost."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage import patient_connection
from losstune.tuning.storage.database import Database, database_at
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.lease import holding
from tests.integration import kept
from tests.integration.drivers import Team, wait_during
from tests.integration.servers import PASSWORD, Postgres, postgres
from tests.integration.test_outages import only_error
from tests.reliability.studies import SHORT, check_histories, leaderboard, run, start, undisturbed
from tests.reliability.tallies import Recorder

pytestmark = pytest.mark.torture

SOON = 1.0
LONG = 90.0
"""After so long a server that a test has frozen goes on by itself: where nobody gives up, the test fails, not hangs."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as own:
        yield own


@pytest.fixture
def database(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Database:
    """One with little patience."""
    monkeypatch.setattr(patient_connection, "SILENT_SECONDS", SOON)
    monkeypatch.setattr(patient_connection, "AGAIN_SECONDS", 0.0)
    return database_at(f"{server.uri('postgres')}?connect_timeout=2")


def while_frozen(server: Postgres, act: Callable[[], object], *, connections_alone: bool = False) -> bool:
    """Do something while the server is frozen; whether that was over before the server went on by itself."""
    done = threading.Event()
    over = threading.Event()

    def freeze(ready: threading.Event) -> None:
        with server.frozen(connections_alone=connections_alone):
            ready.set()
            done.wait(LONG)
            over.set()

    ready = threading.Event()
    thread = threading.Thread(target=freeze, args=(ready,))
    thread.start()
    ready.wait()
    try:
        act()
        return not over.is_set()
    finally:
        done.set()
        thread.join()


def test_whoever_asks_gives_up_and_is_answered_once_it_goes_on(
    server: Postgres, database: Database, record: Recorder
) -> None:
    storage = database.storage()
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "frozen")
    storage.create_new_trial(study)

    def ask() -> None:
        with pytest.raises(STORAGE_FAILURES) as error:
            storage.create_new_trial(study)
        assert "connection timeout expired" in storage_reason(error.value)
        with pytest.raises(UserError, match=r"^--study-storage postgresql://losstune:\*\*\*@.*: can not be used: "):
            database.storage()

    assert while_frozen(server, ask)
    storage.create_new_trial(study)
    assert [trial.state for trial in storage.get_all_trials(study)] == [optuna.trial.TrialState.RUNNING] * 2
    record(4, "PostgreSQL frozen, a command", injected=2)


def test_connections_that_are_frozen_alone_are_made_anew(
    server: Postgres, database: Database, record: Recorder
) -> None:
    storage = database.storage()
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "frozen connections")
    with holding(database, "held") as lease:
        assert while_frozen(server, lambda: storage.create_new_trial(study), connections_alone=True)
        lease.renew()
        assert lease.lost == ""
    assert len(storage.get_all_trials(study)) == 1
    record(4, "PostgreSQL's connections frozen")


def test_a_launch_ends_with_one_error_and_the_same_command_goes_on(
    server: Postgres, tmp_path: Path, record: Recorder
) -> None:
    server.run("CREATE DATABASE launched")
    team = Team("", str(tmp_path), server.uri("launched"), "")
    expected = leaderboard(undisturbed(*SHORT), "study")
    launch = start(tmp_path, *SHORT, LOSSTUNE_STUDY_STORAGE=team.study_storage)
    wait_during(launch, lambda: team.ended() > 0, "a trial has ended")
    began = time.monotonic()
    with server.frozen():
        error = only_error(launch)
    took = time.monotonic() - began
    assert re.search("connection timeout expired|has not answered|did not answer", error)
    assert PASSWORD not in error
    ended = [row for row in kept.leaderboard(team, "study") if row[3] in ("COMPLETE", "PRUNED", "FAIL")]
    assert [row for row in expected if row in ended] == ended
    run(tmp_path, *SHORT, LOSSTUNE_STUDY_STORAGE=team.study_storage)
    assert kept.leaderboard(team, "study") == expected
    check_histories(tmp_path, "study")
    record(4, "PostgreSQL frozen, a search", note=f"ends after {took:.0f} s")
