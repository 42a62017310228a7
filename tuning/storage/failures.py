"""What goes wrong where the truth is kept, and how it is said in one line."""

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

STORAGE_FAILURES = (OSError, StorageInternalError, SQLAlchemyError)
"""What Optuna's storage raises when it can not be read or written: full, read-only, gone, damaged."""


def storage_reason(error: BaseException) -> str:
    """What is wrong, in one line: the cause behind Optuna's wrapping, ``database or disk is full``."""
    return str(error.__cause__ or error).splitlines()[0]
