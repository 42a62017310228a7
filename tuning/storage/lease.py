"""One launch at a time where studies share a database: a lease on a study, by the server's clock.

A row of the table ``losstune_leases`` says who holds a study, and until when. Its holder renews it every ten seconds;
after a minute without that another launch may take it over, at once if the holder is a dead process of its own machine.
Every transaction of the holder begins by locking that row against a change of holder: one that comes after a takeover
fails, and a takeover waits for one that is under way. So a launch that was cut off, stopped, or asleep writes nothing
into a study that is another's by now.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.database import Database
from losstune.tuning.storage.passwords import masked

TTL_SECONDS = 60
RENEW_SECONDS = 10
_TABLE = "losstune_leases"
_CREATE = text(
    f"""CREATE TABLE IF NOT EXISTS {_TABLE} (
    study TEXT PRIMARY KEY, holder TEXT, host TEXT, machine TEXT, pid BIGINT, started BIGINT,
    since TIMESTAMPTZ, expires TIMESTAMPTZ, attempt BIGINT NOT NULL DEFAULT 0)"""
)
_READ = text(
    f"SELECT *, expires > clock_timestamp() AS valid FROM {_TABLE} WHERE study = :study AND holder IS NOT NULL"
)
_TAKE = text(
    f"""INSERT INTO {_TABLE} AS lease (study, holder, host, machine, pid, started, since, expires)
    VALUES (:study, :holder, :host, :machine, :pid, :started,
        clock_timestamp(), clock_timestamp() + :ttl * interval '1 s')
    ON CONFLICT (study) DO UPDATE SET holder = excluded.holder, host = excluded.host, machine = excluded.machine,
        pid = excluded.pid, started = excluded.started, since = clock_timestamp(),
        expires = clock_timestamp() + :ttl * interval '1 s'
    WHERE lease.holder IS NULL OR lease.expires < clock_timestamp() OR lease.holder = :dead
    RETURNING holder"""
)
_MINE = "WHERE study = :study AND holder = :holder"
_RENEW = text(f"UPDATE {_TABLE} SET expires = clock_timestamp() + :ttl * interval '1 s' {_MINE} RETURNING holder")
_ATTEMPT = text(f"UPDATE {_TABLE} SET attempt = greatest(attempt + 1, :least) {_MINE} RETURNING attempt")
_RELEASE = text(f"UPDATE {_TABLE} SET holder = NULL {_MINE}")
_CHECK = text(f"SELECT 1 FROM {_TABLE} {_MINE} FOR SHARE")


class LeaseLostError(OSError):
    """Another launch has taken the study over; to be handled as a storage that can not be written."""


@dataclass(frozen=True)
class Process:
    """A process so that it can be found again: a number is given to another one day, ``started`` is not.

    Attributes:
        machine: this boot of this machine, and the numbering of processes that ``pid`` is from; "" is none.
        started: clock ticks from boot to its start.
    """

    host: str
    machine: str
    pid: int
    started: int

    @property
    def is_dead(self) -> bool:
        """Whether it is known to run no more: a process of another machine never is."""
        return self.machine == _machine() != "" and _start_of(self.pid) != self.started


class Lease:
    """A study held by this process; renewed in the background, and valid as long as that succeeds.

    Attributes:
        holder: its name in the table, another one for each launch.
    """

    def __init__(self, engine: Engine, study: str, now: Callable[[], float]) -> None:
        """As taken at once by :func:`holding`."""
        self.holder = uuid.uuid4().hex
        self._engine = engine
        self._mine = {"study": study, "holder": self.holder}
        self._now = now
        self._until = now() + TTL_SECONDS
        self._trouble = ""
        self._gone = False
        self._ended = threading.Event()

    @property
    def lost(self) -> str:
        """Why this launch must stop, "" while it need not."""
        if self._gone:
            return f"another launch has taken study {self._mine['study']!r} over"
        if self._now() > self._until:
            trouble = self._trouble or "this process slept"
            return f"study {self._mine['study']!r} could not be held any longer: {trouble}"
        return ""

    def take(self, dead: str) -> bool:
        """Take the study if it is free, its lease has expired, or ``dead`` holds it; whether that was so."""
        return self._run(_TAKE, ttl=TTL_SECONDS, dead=dead, **vars(current_process())) is not None

    def renew(self) -> None:
        """Hold it for another minute, counted from before the server was asked."""
        asked = self._now()
        try:
            renewed = self._run(_RENEW, ttl=TTL_SECONDS) is not None
        except SQLAlchemyError as error:
            self._trouble = masked(str(error).splitlines()[0])
            return
        if renewed:
            self._until = asked + TTL_SECONDS
        else:
            self._gone = True

    def next_attempt(self, least: int) -> int:
        """The number of this launch: higher than of any before, and at least ``least``.

        Raises:
            LeaseLostError: the study is another launch's by now.
        """
        row = self._run(_ATTEMPT, least=least)
        if row is None:
            raise self._taken_over()
        return int(row[0])

    def check(self, connection: Connection) -> None:
        """Keep the study for the time of this transaction.

        Raises:
            LeaseLostError: the study is another launch's by now.
        """
        if connection.execute(_CHECK, self._mine).first() is None:
            raise self._taken_over()

    def keep(self) -> None:
        """Renew it until :meth:`release`."""
        while not self._ended.wait(RENEW_SECONDS):
            self.renew()

    def release(self) -> None:
        """Let others have it; where the server does not answer, they have it when it expires."""
        self._ended.set()
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(_RELEASE, self._mine)

    def _run(self, statement: Any, **values: Any) -> Row[Any] | None:
        with self._engine.begin() as connection:
            return connection.execute(statement, self._mine | values).first()

    def _taken_over(self) -> LeaseLostError:
        self._gone = True
        return LeaseLostError(self.lost)


@contextmanager
def holding(database: Database, study: str) -> Iterator[Lease]:
    """Hold a study for the time of the block.

    Raises:
        UserError: another process holds it (says which), or the database can not be reached.
    """
    with database.translating_errors():
        with database.setting_up() as connection:
            connection.execute(_CREATE)
        lease = Lease(database.engine(), study, _seconds)
        holder = _holder(database, study)
        if not lease.take(holder.holder if holder and _process(holder).is_dead else ""):
            raise UserError(f"study {study!r} is in use by {_described(_holder(database, study))}")
    thread = threading.Thread(target=lease.keep, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.release()
        thread.join(timeout=RENEW_SECONDS)


def is_held(database: Database, study: str) -> bool:
    """Whether a launch holds the study now."""
    with database.translating_errors():
        holder = _holder(database, study)
    return holder is not None and bool(holder.valid) and not _process(holder).is_dead


def current_process() -> Process:
    """This one."""
    return Process(socket.gethostname(), _machine(), os.getpid(), _start_of(os.getpid()) or 0)


def _holder(database: Database, study: str) -> Row[Any] | None:
    engine = database.engine()
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(_TABLE):
                return None
            return connection.execute(_READ, {"study": study}).first()
    finally:
        engine.dispose()


def _process(holder: Row[Any]) -> Process:
    return Process(holder.host, holder.machine, holder.pid, holder.started)


def _described(holder: Row[Any] | None) -> str:
    if holder is None:  # it has let go just now
        return "another process"
    said = f"process {holder.pid} on {holder.host}, since {_local(holder.since)}"
    if holder.machine == _machine():
        return said
    return f"{said}; if that is dead, wait until {_local(holder.expires)}"


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _machine() -> str:
    """Names this boot of this machine and this numbering of processes; "" where the system does not tell."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _start_of(pid: int) -> int | None:
    """When a process has started, in clock ticks since boot; None if it runs no more."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()  # names may have spaces
        return None if fields[0] in "ZX" else int(fields[19])
    return None


def _seconds() -> float:
    """A clock that goes on while the machine sleeps."""
    # Only Linux has the first; on macOS the second goes on too.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
