"""The address of a database: what is taken, what is refused, and what nobody sees."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.home import Home

POSTGRES = "postgresql://me:ge%2Fheim@db.example:5433/studies"
SHOWN = "postgresql://me:***@db.example:5433/studies"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://me:geheim@host/db", "mysql://me:***@host/db"),
        ("postgresql://me:geheim@host", "postgresql://me:***@host"),
        ("postgresql+asyncpg://me:geheim@host/db", "postgresql+asyncpg://me:***@host/db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("geheim", "geheim"),
        ("postgresql://me:geheim@host:port/db", "postgresql://me:***@host:port/db"),
    ],
)
def test_other_databases_are_refused(address: str, shown: str) -> None:
    with pytest.raises(UserError) as error:
        database_at(address)
    expected = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    assert str(error.value) == f"--study-storage: found {shown}; expected {expected}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_database_is_known_by_its_address_and_never_shows_its_password(scheme: str) -> None:
    database = database_at(POSTGRES.replace("postgresql", scheme))
    assert database.uri == POSTGRES
    assert str(database) == SHOWN
    assert "heim" not in repr(Home(Path(), None, database))


def test_what_its_driver_says_is_one_message_without_the_password() -> None:
    with pytest.raises(UserError) as error, database_at(POSTGRES).translating_errors():
        raise OSError(f"no route to {POSTGRES}\npassword ge/heim or ge%2Fheim")
    assert str(error.value) == f"--study-storage {SHOWN}: can not be used: no route to {SHOWN}"
    with pytest.raises(UserError) as error, database_at(POSTGRES).translating_errors():
        raise OSError("password ge/heim or ge%2Fheim")
    assert str(error.value) == f"--study-storage {SHOWN}: can not be used: password *** or ***"
    with pytest.raises(UserError) as error, database_at(POSTGRES).translating_errors():
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
    assert str(error.value) == "--study-storage: psycopg is not installed; pip install '.[cluster]' in a clone"
