"""A command as a process: what it writes is the user's alone; how errors, signals and a closed pipe end it."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from losstune.trainer.base.errors import UserError


def run(command: Callable[[], object]) -> None:
    """Run a command to the end of this process.

    A user's mistake is one message and the error's exit code, 2; SIGINT is 130, SIGTERM 143, a pipe that its reader
    closed 1, and so, with a message, is any other output that can not be written.
    """
    os.umask(0o077)
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    sys.unraisablehook = _end_if_swallowed
    try:
        try:
            command()
        finally:
            _flush()  # not as late as Python does, which could only say that it ignores an error
    except UserError as error:
        print(f"error: {_printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _give_up_output()
    except OSError:
        _say_if_output_fails()
        raise


def _flush() -> None:
    if sys.stdout is not None:  # it is where the shell closed it
        sys.stdout.flush()


def _say_if_output_fails() -> None:
    """End with one message if it is standard output that can not be written: the error itself does not say so."""
    try:
        print(flush=True)
    except OSError as error:
        print(f"error: what the command says can not be written to standard output: {error.strerror}", file=sys.stderr)
        _give_up_output()


def _give_up_output() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def _printable(text: str) -> str:
    """Names in a file may hold characters that steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _end_if_swallowed(unraisable: "sys.UnraisableHookArgs") -> None:
    """A signal may come where Python ignores what its handler raises: in ``__del__``, in a weak reference's call."""
    match unraisable.exc_value:
        case SystemExit(code=int(code)):
            os._exit(code)
        case KeyboardInterrupt():
            os._exit(130)
    sys.__unraisablehook__(unraisable)
