"""A connection to PostgreSQL that gives up on a server which is there and says nothing.

Where a server is stopped with its connections open, as a machine whose memory or disk hangs, its kernel goes on
acknowledging what it is sent: no keepalive and no timeout of TCP notices, and libpq has no timeout of its own for a
statement.
"""

import time
from collections.abc import Generator
from typing import Any, TypeVar

from psycopg import Connection, OperationalError
from psycopg.errors import ConnectionTimeout

SILENT_SECONDS = 15.0
"""Longer than any statement of a study takes, or waits for a lock."""
AGAIN_SECONDS = 20.0
"""For so long after a server let one wait for a connection in vain, nobody in this process waits for one again: a
launch has several things to write at its end, and is to end within a minute."""

_in_vain: dict[tuple[object, object], float] = {}
"""When that was, by host and port, in seconds of :func:`time.monotonic`."""

_Result = TypeVar("_Result")
_Wait = Generator[Any, Any, _Result]


class PatientConnection(Connection[Any]):
    """psycopg's, which is closed with an error once the server has said nothing for so long."""

    def wait(self, gen: _Wait[_Result], *arguments: Any, **options: Any) -> _Result:
        """Consume a generator as psycopg's own does.

        Raises:
            OperationalError: the server was silent for too long; the connection is closed.
        """
        return super().wait(self._listening(gen), *arguments, **options)

    def _listening(self, gen: _Wait[_Result]) -> _Wait[_Result]:
        heard, ready = time.monotonic(), None
        while True:
            try:
                state = next(gen) if ready is None else gen.send(ready)
            except StopIteration as end:
                result: _Result = end.value
                return result
            ready = yield state  # psycopg comes back every tenth of a second, also where nothing came
            if ready:
                heard = time.monotonic()
            elif time.monotonic() > heard + SILENT_SECONDS:
                self.close()
                raise OperationalError(f"the server has not answered for {SILENT_SECONDS:g} s")


def connected(**parameters: Any) -> PatientConnection:
    """A connection, by libpq's parameters.

    Raises:
        OperationalError: there is none to be had, or a moment ago there was none.
    """
    place = parameters.get("host"), parameters.get("port")
    if time.monotonic() < _in_vain.get(place, -AGAIN_SECONDS) + AGAIN_SECONDS:
        raise OperationalError("the server did not answer a moment ago")
    try:
        return PatientConnection.connect(**parameters)
    except ConnectionTimeout:
        _in_vain[place] = time.monotonic()
        raise
