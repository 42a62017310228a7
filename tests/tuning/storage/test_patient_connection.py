"""A connection that gives up on a silent server; what a frozen PostgreSQL does to it is in tests/reliability."""

from collections.abc import Generator

import pytest
from psycopg import OperationalError
from psycopg.errors import ConnectionTimeout

from losstune.tuning.storage import patient_connection
from losstune.tuning.storage.patient_connection import AGAIN_SECONDS, SILENT_SECONDS, PatientConnection, connected

NOTHING, SOMETHING = 0, 1
"""What psycopg tells a generator that waits for the server."""


class Fake(PatientConnection):
    """One without a server."""

    def __init__(self) -> None:
        self.ended = False

    def close(self) -> None:
        self.ended = True

    def __del__(self, *_: object) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(patient_connection.time, "monotonic", lambda: now[0])
    return now


def asks(times: int) -> Generator[str, int, list[int]]:
    """Waits so often for the server; gives what it was told."""
    told: list[int] = []
    while len(told) < times:
        told += [(yield "wait")]
    return told


def test_what_the_server_sends_is_handed_on(clock: list[float]) -> None:
    waiting = Fake()._listening(asks(3))
    assert next(waiting) == "wait"
    for ready in (SOMETHING, NOTHING):
        clock[0] += SILENT_SECONDS
        assert waiting.send(ready) == "wait"
    with pytest.raises(StopIteration) as end:
        waiting.send(SOMETHING)
    assert end.value.value == [SOMETHING, NOTHING, SOMETHING]


def test_silence_closes_it(clock: list[float]) -> None:
    connection = Fake()
    waiting = connection._listening(asks(100))
    next(waiting)
    clock[0] = 1.0
    waiting.send(SOMETHING)
    clock[0] = 1.0 + SILENT_SECONDS
    waiting.send(NOTHING)
    assert not connection.ended
    clock[0] += 0.1
    with pytest.raises(OperationalError, match="the server has not answered for 15 s"):
        waiting.send(NOTHING)
    assert connection.ended


def test_what_needs_no_waiting_is_done_at_once() -> None:
    with pytest.raises(StopIteration) as end:
        next(Fake()._listening(asks(0)))
    assert end.value.value == []


def test_nobody_waits_again_for_a_server_that_let_one_wait_in_vain(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []

    def in_vain(**parameters: str) -> None:
        waited.append(parameters["host"])
        raise ConnectionTimeout("connection timeout expired")

    monkeypatch.setattr(patient_connection, "_in_vain", {})
    monkeypatch.setattr(PatientConnection, "connect", in_vain)
    for host, now, message in (
        ("here", 0.0, "connection timeout expired"),
        ("here", AGAIN_SECONDS - 0.1, "the server did not answer a moment ago"),
        ("there", AGAIN_SECONDS - 0.1, "connection timeout expired"),
        ("here", AGAIN_SECONDS, "connection timeout expired"),
    ):
        clock[0] = now
        with pytest.raises(OperationalError, match=message):
            connected(host=host, port="5432")
    assert waited == ["here", "there", "here"]
