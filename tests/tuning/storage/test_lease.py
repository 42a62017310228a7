"""A lease on a study, without a server: what its holder makes of the answers. On PostgreSQL: tests/integration."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from losstune.tuning.storage import lease as module
from losstune.tuning.storage.lease import TTL_SECONDS, Lease, LeaseLostError, Process, current_process


class Server:
    """Answers every statement with its next row; a number of launches, a holder, or nothing."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.asked: list[dict[str, Any]] = []

    @contextmanager
    def begin(self) -> Iterator["Server"]:
        yield self

    def execute(self, _: object, values: dict[str, Any]) -> "Server":
        self.asked.append(values)
        return self

    def first(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def lease(server: Server, clock: list[float]) -> Lease:
    return Lease(server, "first", lambda: clock[0])  # type: ignore[arg-type]


def test_where_no_clock_counts_sleep_it_goes_by_the_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)  # as on macOS
    assert time.monotonic() <= module._seconds() <= time.monotonic()


def test_it_is_valid_for_a_minute_from_before_the_last_answer(lease: Lease, server: Server, clock: list[float]) -> None:
    clock[0] += TTL_SECONDS
    assert lease.lost == ""
    server.answers = [("me",)]
    lease.renew()
    clock[0] += TTL_SECONDS
    assert lease.lost == ""
    clock[0] += 1
    assert lease.lost == "study 'first' could not be held any longer: this process slept"


def test_a_server_that_does_not_answer_is_asked_again_until_the_minute_is_over(
    lease: Lease, server: Server, clock: list[float]
) -> None:
    server.answers = [OperationalError("UPDATE", {}, Exception("postgresql://me:geheim@host is gone"))]
    lease.renew()
    assert lease.lost == ""
    clock[0] += TTL_SECONDS + 1
    assert lease.lost.startswith("study 'first' could not be held any longer: ")
    assert "postgresql://me:***@host is gone" in lease.lost


@pytest.mark.parametrize("call", ["renew", "next_attempt", "check"])
def test_who_is_no_longer_the_holder_stops(call: str, lease: Lease, server: Server) -> None:
    server.answers = [None]
    match call:
        case "renew":
            lease.renew()
        case "next_attempt":
            with pytest.raises(LeaseLostError, match=r"^another launch has taken study 'first' over$"):
                lease.next_attempt(1)
        case "check":
            with pytest.raises(LeaseLostError, match=r"^another launch has taken study 'first' over$"):
                lease.check(server)  # type: ignore[arg-type]
    assert lease.lost == "another launch has taken study 'first' over"


def test_the_server_is_asked_as_this_launch(lease: Lease, server: Server) -> None:
    server.answers = [None, ("me",), (7,)]
    assert not lease.take(dead="")
    assert lease.take(dead="of a dead process")
    assert lease.next_attempt(least=3) == 7
    taken, again, attempt = server.asked
    assert {values["holder"] for values in server.asked} == {lease.holder}
    assert (taken["study"], taken["pid"], taken["ttl"]) == ("first", os.getpid(), TTL_SECONDS)
    assert (again["dead"], attempt["least"]) == ("of a dead process", 3)


def test_only_a_process_of_this_machine_is_known_to_be_dead() -> None:
    me = current_process()
    assert me.pid == os.getpid()
    assert me.started > 0
    assert not me.is_dead
    assert Process(me.host, me.machine, me.pid, me.started - 1).is_dead
    assert not Process(me.host, "another boot", me.pid, me.started - 1).is_dead
    assert not Process(me.host, "", 1, 1).is_dead
