"""What goes wrong where the truth is kept, and how it is said in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from losstune.trainer.base.errors import UserError

STORAGE_FAILURES = (OSError, StorageInternalError, SQLAlchemyError)
"""What Optuna's storage raises when it can not be read or written: full, read-only, gone, damaged."""

Kinds = type[Exception] | tuple[type[Exception], ...]


def storage_reason(error: BaseException) -> str:
    """What is wrong, in one line: the cause behind Optuna's wrapping, ``database or disk is full``."""
    return str(error.__cause__ or error).splitlines()[0]


@contextmanager
def translating(kinds: Kinds, into: Callable[[Exception], Exception], untouched: Kinds = UserError) -> Iterator[None]:
    """Raise the errors of these kinds in this block as what ``into`` makes of them.

    Args:
        untouched: errors that are for the user already; they leave the block as they are.
    """
    try:
        yield
    except kinds as error:
        if isinstance(error, untouched):
            raise
        raise into(error) from None
