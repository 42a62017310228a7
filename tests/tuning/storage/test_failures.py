"""Errors of libraries become one line for the user, and what is for the user already stays."""

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from losstune.trainer.base.errors import UserError, translating
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


def told(error: Exception) -> UserError:
    return UserError(f"told: {storage_reason(error)}")


@pytest.mark.parametrize("error", [OSError("full"), wrapped(), OperationalError("x", {}, Exception("locked"))])
def test_errors_of_a_kind_leave_the_block_translated(error: Exception) -> None:
    with pytest.raises(UserError, match=r"^told: ") as raised, translating(STORAGE_FAILURES, told):
        raise error
    assert raised.value.__suppress_context__


def test_all_other_errors_leave_it_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), translating(STORAGE_FAILURES, told):
        raise ZeroDivisionError
    with pytest.raises(UserError, match=r"^as it is$"), translating(Exception, told):
        raise UserError("as it is")
    with pytest.raises(KeyboardInterrupt), translating(Exception, told):
        raise KeyboardInterrupt


def test_what_is_for_the_user_already_may_be_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match=r"^again$"), translating(UserError, lambda _: ValueError("again"), ()):
        raise UserError("once")
