"""Errors of libraries become one line for the user, and what is for the user already stays."""

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason


def wrapped() -> StorageInternalError:
    """As Optuna raises what SQLAlchemy did."""
    try:
        try:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        except OperationalError as cause:
            raise StorageInternalError("An exception is raised during the commit.\nThis typically …") from cause
    except StorageInternalError as error:
        return error


def test_the_reason_is_the_cause_in_one_line() -> None:
    assert storage_reason(wrapped()) == "(builtins.Exception) database or disk is full"
    assert storage_reason(OSError("no space\nleft")) == "no space"


@pytest.mark.parametrize("error", [OSError("full"), wrapped(), OperationalError("x", {}, Exception("locked"))])
def test_what_optuna_and_its_database_raise_are_failures_of_storage(error: Exception) -> None:
    assert isinstance(error, STORAGE_FAILURES)
