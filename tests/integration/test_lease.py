"""A lease on a study, against PostgreSQL: one holder at a time, by the server's clock, and what a loser can not do."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.database import Database, database_at
from losstune.tuning.storage.failures import STORAGE_FAILURES
from losstune.tuning.storage.lease import TTL_SECONDS, Lease, LeaseLostError, Process, current_process, holding, is_held


@pytest.fixture
def database(postgres_uri: str) -> Database:
    return database_at(postgres_uri)


@pytest.fixture
def sql(postgres_uri: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        yield connection


def row(sql: psycopg.Connection[Any]) -> dict[str, Any]:
    cursor = sql.execute("SELECT * FROM losstune_leases WHERE study = 'first'")
    (values,) = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description or []], values, strict=True))


def expire(sql: psycopg.Connection[Any]) -> None:
    sql.execute("UPDATE losstune_leases SET expires = clock_timestamp() - interval '1 s'")


def elsewhere(sql: psycopg.Connection[Any]) -> None:
    """As if its holder were on another machine."""
    sql.execute("UPDATE losstune_leases SET host = 'other', machine = 'other boot'")


def refusal(database: Database) -> str:
    with pytest.raises(UserError) as error, holding(database, "first"):
        pass
    return str(error.value)


def test_a_second_launch_is_refused_and_told_who_holds_the_study(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    host = os.uname().nodename
    with holding(database, "first"):
        assert is_held(database, "first")
        since = f"{row(sql)['since'].astimezone():%Y-%m-%d %H:%M:%S}"
        assert refusal(database) == f"study 'first' is in use by process {os.getpid()} on {host}, since {since}"
        assert not is_held(database, "second")
        with holding(database, "second"):
            pass
    assert not is_held(database, "first")
    with holding(database, "first"):
        pass


def test_a_holder_on_another_machine_is_named_with_the_time_to_wait_for(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    with holding(database, "first"):
        elsewhere(sql)
        until = f"{row(sql)['expires'].astimezone():%Y-%m-%d %H:%M:%S}"
        expected = rf"study 'first' is in use by process \d+ on other, since .*; if that is dead, wait until {until}"
        assert re.fullmatch(expected, refusal(database))


def test_it_is_valid_for_a_minute_of_the_server_s_clock_and_renewed(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    with holding(database, "first") as lease:
        first = row(sql)
        assert abs((first["expires"] - first["since"]).total_seconds() - TTL_SECONDS) < 1
        lease.renew()
        assert row(sql)["expires"] > first["expires"]
        assert row(sql)["since"] == first["since"]
        assert lease.lost == ""


def test_an_expired_lease_is_taken_over_and_its_holder_stops(database: Database, sql: psycopg.Connection[Any]) -> None:
    with holding(database, "first") as old:
        elsewhere(sql)
        expire(sql)
        assert not is_held(database, "first")
        with holding(database, "first") as new:
            old.renew()
            assert old.lost == "another launch has taken study 'first' over"
            old.release()
            new.renew()
            assert new.lost == ""
            assert row(sql)["holder"] == new.holder


def test_of_many_launches_at_once_one_takes_an_expired_lease(database: Database, sql: psycopg.Connection[Any]) -> None:
    with holding(database, "first"):
        expire(sql)
        leases = [Lease(database.engine(), "first", lambda: 0.0) for _ in range(8)]
        ready, taken = threading.Barrier(len(leases)), []

        def take(lease: Lease) -> None:
            ready.wait()
            if lease.take(dead=""):
                taken.append(lease)

        threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        assert row(sql)["holder"] == taken[0].holder


HOLD = """
import sys
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.lease import holding
with holding(database_at(sys.argv[1]), "first"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_of_this_machine_holds_nothing(database: Database, postgres_uri: str) -> None:
    command = [sys.executable, "-c", HOLD, postgres_uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert f"in use by process {process.pid} on " in refusal(database)
        process.kill()
        process.wait()
    assert not is_held(database, "first")
    with holding(database, "first") as lease:
        assert lease.lost == ""


def test_a_process_is_known_by_its_start(database: Database, sql: psycopg.Connection[Any]) -> None:
    """A number that was given to another process since is not the holder's."""
    me = current_process()
    assert not me.is_dead
    assert replace(me, started=me.started - 1).is_dead
    assert replace(me, pid=2**22 + 1).is_dead
    assert not replace(me, pid=2**22 + 1, machine="another").is_dead
    assert not Process(me.host, "", 1, 1).is_dead
    with holding(database, "first"):
        sql.execute("UPDATE losstune_leases SET started = started - 1")
        with holding(database, "first") as lease:
            assert lease.lost == ""


def test_a_server_that_does_not_answer_for_a_minute_ends_the_hold(database: Database) -> None:
    clock = [0.0]
    lease = Lease(database.engine(), "first", lambda: clock[0])
    with holding(database, "other"):  # makes the table
        assert lease.take(dead="")
        clock[0] = TTL_SECONDS - 1
        lease.renew()
        gone = database_at("postgresql://me:geheim@127.0.0.1:1/x").engine()
        lease._engine = gone
        clock[0] += TTL_SECONDS
        lease.renew()
        assert lease.lost == ""
        clock[0] += 1
        assert lease.lost.startswith("study 'first' could not be held any longer: ")
        assert "Connection refused" in lease.lost
        assert "geheim" not in lease.lost


def test_launches_are_numbered_by_their_holders_alone(database: Database, sql: psycopg.Connection[Any]) -> None:
    with holding(database, "first") as old:
        assert [old.next_attempt(1), old.next_attempt(1), old.next_attempt(7), old.next_attempt(2)] == [1, 2, 7, 8]
        expire(sql)
        with holding(database, "first") as new:
            with pytest.raises(LeaseLostError, match="another launch has taken study 'first' over"):
                old.next_attempt(1)
            assert new.next_attempt(1) == 9
    with holding(database, "first") as later:
        assert later.next_attempt(1) == 10


def test_a_storage_can_not_be_written_any_more_once_its_lease_is_another_s(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    from optuna.study import StudyDirection

    with holding(database, "first") as old:
        storage = replace(database, lease=old).storage()
        study = storage.create_new_study([StudyDirection.MAXIMIZE], "first/mse")
        expire(sql)
        trial = storage.create_new_trial(study)  # nobody has taken it: it is still its own
        with holding(database, "first"):
            for write in (
                lambda: storage.create_new_trial(study),
                lambda: storage.set_trial_user_attr(trial, "end", 1),
                lambda: storage.create_new_study([StudyDirection.MAXIMIZE], "first/infonce"),
            ):
                with pytest.raises(LeaseLostError) as error:
                    write()
                assert isinstance(error.value, STORAGE_FAILURES)
        found = database.storage()
        assert [one.study_name for one in found.get_all_studies()] == ["first/mse"]
        assert len(found.get_all_trials(study)) == 1
        assert found.get_all_trials(study)[0].user_attrs == {}


def test_a_takeover_waits_for_a_write_that_is_under_way(database: Database, sql: psycopg.Connection[Any]) -> None:
    taken = threading.Event()

    def take() -> None:
        if Lease(database.engine(), "first", lambda: 0.0).take(dead=""):
            taken.set()

    with holding(database, "first") as old:
        engine = database.engine()
        with engine.begin() as connection:
            expire(sql)
            old.check(connection)
            thread = threading.Thread(target=take)
            thread.start()
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%losstune_leases%'"
            while not sql.execute(waiting).fetchall():
                pass
            assert not taken.is_set()
            connection.execute(text("CREATE TABLE written (n INTEGER)"))
        thread.join()
        assert taken.is_set()
        assert sql.execute("SELECT count(*) FROM written").fetchone() == (0,)


def test_the_server_ends_a_transaction_that_its_client_has_forgotten(database: Database) -> None:
    with database.engine().connect() as connection:
        assert connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar() == "1min"
        assert connection.execute(text("SHOW application_name")).scalar() == "losstune"


def test_a_study_that_nobody_ever_held_is_free(database: Database) -> None:
    assert not is_held(database, "first")


def test_this_process_is_found() -> None:
    assert current_process().pid == os.getpid()
    assert current_process().started > 0
