"""The exceptions that mean: the user can mend this; and how errors are told."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

Kinds = type[Exception] | tuple[type[Exception], ...]


class LosstuneError(Exception):
    """What a program that uses losstune can catch: what was found, where, what is allowed, in the words of its call."""


class UserError(LosstuneError):
    """A mistake in what the user gave: a file, an option, a setting.

    The command line prints its message without a traceback and exits with code 2, so the message says
    what was found, where, and what is allowed, in the words of the command line.

    Attributes:
        exit_code: that of the command that ends with it; 1 where nothing that was given is wrong, and nothing goes on.
    """

    exit_code: ClassVar[int] = 2


def shown(value: object) -> str:
    """A value as a message shows it: cut short where it is long."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(error: BaseException) -> str:
    """What an error of a library's says, without line ends; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


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
