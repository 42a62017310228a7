"""The first signal asks, the second insists."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from losstune.trainer.base.signals import SAME_SECONDS, stop_on_signal

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_the_first_signal_only_asks_to_stop(signum: signal.Signals, code: int) -> None:
    with stop_on_signal() as stop:
        assert not stop
        os.kill(os.getpid(), signum)
        assert stop
        assert stop.exit_code == code


STUBBORN = """
import os, sys
from losstune.trainer.base import signals

now = 0.0
signals.time.monotonic = lambda: now
with signals.stop_on_signal():
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        os.kill(os.getpid(), int(sys.argv[1]))  # at once again: the same one
        print("asked", flush=True)
        now = signals.SAME_SECONDS + 0.01
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


@pytest.mark.parametrize("signum", [signum for signum, _ in SIGNALS])
def test_where_nothing_has_to_end_well_yet_a_signal_is_its_exit_code(signum: signal.Signals) -> None:
    with stop_on_signal() as stop:
        stop.exit_if_asked()
        os.kill(os.getpid(), signum)
        with pytest.raises(SystemExit) as left:
            stop.exit_if_asked()
        assert left.value.code == stop.exit_code == 128 + signum


WAITING = """
import sys, threading, time
from losstune.trainer.base.signals import stop_on_signal

with stop_on_signal(patience=float(sys.argv[1])) as stop:
    print("waits", flush=True)
    while not stop:
        time.sleep(0.01)
    exec(sys.argv[2])
print("ended well", threading.active_count())
"""
GOES_ON = "time.sleep(60)"


@contextmanager
def waiting(patience: str, asked: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a block with patience, and what it does there once it is asked to stop."""
    command = [sys.executable, "-c", WAITING, patience, asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        yield process


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_block_that_goes_on_ends_when_patience_does(signum: signal.Signals, code: int) -> None:
    with waiting("0.2", GOES_ON) as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err == "not stopped 0.2 s after the signal, and ended: the same command goes on\n"


def test_such_a_block_ends_though_nobody_reads_what_it_says_of_it() -> None:
    with waiting("0.2", GOES_ON) as process:
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143


@pytest.mark.parametrize(("second", "code"), SIGNALS)
def test_a_second_signal_ends_such_a_block_at_once(second: signal.Signals, code: int) -> None:
    with waiting("50", f"print('asked', flush=True); {GOES_ON}") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(SAME_SECONDS + 0.1)
        process.send_signal(second)
        assert process.wait(timeout=30) == code


def test_a_block_that_ends_in_time_after_a_signal_is_left_alone() -> None:
    with waiting("30", "pass") as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0] == "ended well 1\n"
    assert process.returncode == 0


def test_in_a_thread_signals_are_the_callers() -> None:
    def work() -> None:
        with stop_on_signal(patience=1) as stop:
            handlers.extend(signal.getsignal(number) for number in SIGNALS_ALONE)
            assert not stop

    SIGNALS_ALONE = [signum for signum, _ in SIGNALS]  # noqa: N806
    handlers: list[object] = []
    before = [signal.getsignal(number) for number in SIGNALS_ALONE]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == before


INSISTED = """
import os, signal, sys, time
from losstune.trainer.base.signals import SAME_SECONDS, stop_on_signal

try:
    with stop_on_signal(patience=60, own_process=False) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        print("asked", bool(stop), flush=True)
        while time.monotonic() < stop.since + SAME_SECONDS:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        print("not reached")
except KeyboardInterrupt:
    print("interrupted")
print("goes on", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_in_a_program_a_second_signal_is_what_it_was_before_and_the_process_goes_on() -> None:
    ended = subprocess.run([sys.executable, "-c", INSISTED], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "asked True\ninterrupted\ngoes on True\n"


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_program_that_was_asked_to_stop_leaves_once_all_is_safe(
    signum: signal.Signals, kind: type[BaseException]
) -> None:
    with stop_on_signal(own_process=False) as stop:
        stop.leave()
        os.kill(os.getpid(), signum)
    with pytest.raises(kind):
        stop.leave()
