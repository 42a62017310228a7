"""Messages in the words of a program: the argument ``trials`` where the command line has an option ``--trials``.

Every message is written once, for the command line. A function of the face translates what it raises, and what it says
on a console, on its way out.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rich.console import Console

from losstune.trainer.base.errors import LosstuneError, UserError

P = ParamSpec("P")
R = TypeVar("R")

_VALUE = r"(?: (?:'[^']*'|[^\s'-][^\s;,:]*))?"
_COMMAND = re.compile(
    r"\blosstune (?P<command>launch|confirm|compare|report|export|train)(?P<name> [A-Za-z0-9][\w.-]*)?"
    rf"(?P<options>(?: --[a-z][\w-]*{_VALUE})*)"
)
_OPTION = re.compile(rf"--([a-z][\w-]*)({_VALUE})")
_OF_THE_PLACE = ("storage", "study-storage")
"""What a command needs to find a study that a program holds already."""
_OF_RAY = r"ray start --[\w-]+"
_OF_A_SHELL = rf"\blosstune [a-z]+(?: [A-Za-z0-9][\w.-]*)?(?: --[a-z][\w-]*{_VALUE})+"
"""A command that no function stands for, once those that one does are calls: it stays whole."""
_ALONE = re.compile(rf"{_OF_RAY}|{_OF_A_SHELL}|(?<![\w-])--([a-z][a-z_-]*[a-z])\b(?!-)")


def in_argument_words(message: str) -> str:
    """A message for the command line, for a program.

    ``--max-epochs`` is ``max_epochs``, and ``losstune confirm mine --top 3`` is ``losstune.confirm('mine', top=3)``.
    """
    called = _COMMAND.sub(_call, message.replace("the same command", "the same call"))
    return _ALONE.sub(lambda found: _argument(found[1]) if found[1] else found[0], called)


class ProgramConsole(Console):
    """A console that says its lines in the words of a program."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As any console's; what is no text of ours, a table or a bar, stays as it is."""
        super().print(*(in_argument_words(one) if isinstance(one, str) else one for one in objects), **options)


@contextmanager
def argument_words() -> Iterator[None]:
    """In the block, what the user can mend is told in the words of a program.

    Raises:
        LosstuneError: in place of every UserError.
    """
    try:
        yield
    except UserError as error:
        raise LosstuneError(in_argument_words(str(error))) from None


def for_programs(function: Callable[P, R]) -> Callable[P, R]:
    """The function with errors in the words of a program, as :func:`argument_words`."""

    @wraps(function)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> R:
        with argument_words():
            return function(*args, **kwargs)

    return spoken


def _call(found: re.Match[str]) -> str:
    name = (found["name"] or "").strip()
    arguments = [repr(name)] if name else []
    for option, value in _OPTION.findall(found["options"]):
        if option in _OF_THE_PLACE:
            continue
        arguments.append(f"{_argument(option)}={_literal(value.strip())}")
    return f"losstune.{found['command']}({', '.join(arguments)})"


def _argument(option: str) -> str:
    return option.replace("-", "_")


def _literal(value: str) -> str:
    """``True`` for an option without a value, a number as it stands, all else quoted."""
    if not value:
        return "True"
    return value if re.fullmatch(r"\d+(\.\d+)?", value) else repr(value.strip("'"))
