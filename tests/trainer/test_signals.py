"""The first signal asks, the second insists."""

import os
import signal
import subprocess
import sys

import pytest

from trainer.signals import stop_on_signal

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_the_first_signal_only_asks_to_stop(signum: signal.Signals, code: int) -> None:
    with stop_on_signal() as stop:
        assert not stop
        os.kill(os.getpid(), signum)
        assert stop
        assert stop.exit_code == code


STUBBORN = """
import os, signal, sys
from trainer.signals import stop_on_signal

with stop_on_signal():
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        print("asked", flush=True)
        os.kill(os.getpid(), int(sys.argv[2]))
    finally:
        print("tidied up")
"""


@pytest.mark.parametrize("first", [signum for signum, _ in SIGNALS])
@pytest.mark.parametrize(("second", "code"), SIGNALS)
def test_the_second_signal_ends_the_process_at_once(first: int, second: int, code: int) -> None:
    arguments = [sys.executable, "-c", STUBBORN, str(int(first)), str(int(second))]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "asked\n", "")


@pytest.mark.parametrize("signum", [signum for signum, _ in SIGNALS])
def test_former_handlers_stand_again_afterwards(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with stop_on_signal():
        assert signal.getsignal(signum) is not before
    assert signal.getsignal(signum) is before
