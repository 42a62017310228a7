"""How a command ends as a process."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import os, signal, sys
from losstune.trainer.base.errors import LosstuneError, UserError
from losstune.tuning.cli.process import run

def command():
    {body}

run(command)
"""


def ended(body: str, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", COMMAND.format(body=body)]
    return subprocess.run(line, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("raise UserError('no such thing')", 2, "error: no such thing\n"),
        ("raise UserError('a\\\\x1b[2Jb')", 2, "error: a\\x1b[2Jb\n"),
        ("raise type('Nothing', (UserError,), {'exit_code': 1})('none left')", 1, "error: none left\n"),
        ("os.kill(os.getpid(), signal.SIGINT)", 130, ""),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
        ("sys.exit(7)", 7, ""),
        ("pass", 0, ""),
    ],
)
def test_mistakes_and_signals_are_one_message_and_a_code(body: str, code: int, said: str) -> None:
    done = ended(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_a_fault_of_ours_is_a_traceback() -> None:
    done = ended("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_files_are_the_users_alone() -> None:
    assert ended("print(oct(os.umask(0)))").stdout == "0o77\n"


def test_a_signal_that_python_would_swallow_ends_it_too() -> None:
    body = (
        "type('Swallows', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGTERM)})(); print('not reached')"
    )
    assert (ended(body).returncode, ended(body).stdout) == (143, "")


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    program = COMMAND.format(body="print('7' * 400_000, flush=True)")
    line = f"{sys.executable} -c {shlex.quote(program)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    "body",
    [
        "print('a line')",  # is in the buffer until the end
        "print('7' * 400_000)",
        "print('a line'); sys.exit(0)",
        "from rich.console import Console; Console().print('a line')",
    ],
)
def test_output_that_can_not_be_written_is_one_message_and_a_code(body: str) -> None:
    line = [sys.executable, "-c", COMMAND.format(body=body)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "error: what the command says can not be written to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_another_error_of_the_system_is_a_fault_of_ours() -> None:
    done = ended("open('/no/such/file')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "standard output" not in done.stderr
