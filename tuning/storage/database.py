"""A PostgreSQL database that keeps the truth about many studies, in place of a SQLite file in each study's folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from losstune.trainer.base.errors import UserError, translating
from losstune.tuning.storage.failures import storage_reason
from losstune.tuning.storage.passwords import masked

_ALLOWED = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_DRIVER = "postgresql+psycopg"
_CONNECTION: dict[str, Any] = {
    "application_name": "losstune",
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server that is gone without a word is noticed within half a minute; seconds, but for the last, in ms."""
_IDLE_SECONDS = 60
"""The server ends a transaction that its client has forgotten: it may keep the lease from the next launch."""
_SETTING_UP = 0x105573


class Fence(Protocol):
    """What keeps a launch from writing once the study is another's: a lease, as its database sees it."""

    @property
    def lost(self) -> str:
        """Why this launch must stop, "" while it need not."""

    def check(self, connection: Connection) -> None:
        """Keep the study for the time of this transaction, or raise."""

    def next_attempt(self, least: int) -> int:
        """The number of this launch: higher than of any before, and at least ``least``."""


@dataclass(frozen=True)
class Database:
    """An address, and the lease of a launch that holds a study there; without one, for readers.

    Attributes:
        lease: a storage that is opened with it can not be written any more once another launch has taken it over.
    """

    url: URL = field(repr=False)
    lease: Fence | None = None

    def __str__(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    @property
    def uri(self) -> str:
        """The whole address, with its password."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def engine(self) -> Engine:
        """Connections to it, with short patience."""
        with self.translating_errors():
            return _prepared(sqlalchemy.create_engine(self.url, **self._options()))

    def storage(self) -> BaseStorage:
        """Optuna's storage in it, its tables created where they are not there.

        Raises:
            UserError: it can not be reached, or is not to be used by this Optuna.
        """
        with self.translating_errors(), self.setting_up():
            storage = RDBStorage(self.url.render_as_string(hide_password=False), engine_kwargs=self._options())
            _prepared(storage.engine)
            if self.lease is not None:
                event.listen(storage.engine, "begin", self.lease.check)
            return storage

    @contextmanager
    def setting_up(self) -> Iterator[Connection]:
        """A transaction in which tables may be made: two processes that make them at once get in each other's way."""
        engine = self.engine()
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SETTING_UP})
                yield connection
        finally:
            engine.dispose()

    def translating_errors(self) -> AbstractContextManager[None]:
        """What goes wrong in this block is one message without a password.

        Raises:
            UserError: the database can not be reached or read.
        """
        return translating(Exception, self._told)  # Optuna and the driver raise all kinds

    def _options(self) -> dict[str, Any]:
        """For SQLAlchemy."""
        return {"pool_pre_ping": True, "creator": self._connect}

    def _connect(self) -> Any:
        """A connection that fails where the server stops answering; what the address itself says goes before ours."""
        from losstune.tuning.storage.patient_connection import connected

        _, given = self.url.get_dialect()().create_connect_args(self.url)
        return connected(**{**_CONNECTION, **given})

    def _told(self, error: Exception) -> UserError:
        if isinstance(error, ModuleNotFoundError):
            return UserError(f"--study-storage: {error.name} is not installed; pip install '.[cluster]' in a clone")
        reason = masked(storage_reason(error), self.uri)
        return UserError(f"--study-storage {self}: can not be used: {reason}")


def database_at(address: str) -> Database:
    """The database of a ``postgresql://`` address; nothing is connected yet.

    Raises:
        UserError: it is another kind of address.
    """
    try:
        url = sqlalchemy.make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres", _DRIVER) or not url.database:
        raise UserError(f"--study-storage: found {masked(address, address)}; expected {_ALLOWED}")
    return Database(url.set(drivername=_DRIVER))


def _prepared(engine: Engine) -> Engine:
    @event.listens_for(engine, "connect")
    def set_patience(connection: Any, _: Any) -> None:
        connection.autocommit = True
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
        connection.autocommit = False

    return engine
