"""The first SIGINT or SIGTERM asks to stop; the second stops at once. In a thread, signals are the caller's."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Those that ask a command to stop."""
_SHOW_CURSOR = "\x1b[?25h\n"  # a progress display hides it
_OVER = b"\0"
SAME_SECONDS = 0.25
"""The same signal again so soon is the first one: ``timeout`` sends its own to the command, and to its group."""


class StopRequest:
    """Whether a signal has asked to stop, when, and the exit code that says so."""

    def __init__(self, at_once: Callable[[int], None] | None = None) -> None:
        """``at_once`` is what a second signal does: ends the process, unless told otherwise."""
        self.signum: int | None = None
        self.since = 0.0
        """When it came, in seconds of :func:`time.monotonic`."""
        self._at_once = at_once or _end_at_once

    def __bool__(self) -> bool:
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM."""
        return 128 + (self.signum or 0)

    def exit_if_asked(self) -> None:
        """End where there is nothing yet that has to end well.

        Raises:
            SystemExit: a signal came; with its exit code.
        """
        if self:
            raise SystemExit(self.exit_code)

    def leave(self) -> None:
        """If a signal came, be to a program what it is by itself, now that all is safe.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: after SIGTERM.
        """
        if self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        if self:
            raise SystemExit(self.exit_code)

    def ask(self, signum: int) -> None:
        """A signal has come: the first asks, a second does not."""
        now = time.monotonic()
        if self.signum is None:
            self.signum, self.since = signum, now
        elif signum != self.signum or now > self.since + SAME_SECONDS:
            self._at_once(signum)


@contextmanager
def stop_on_signal(patience: float | None = None, *, own_process: bool = True) -> Iterator[StopRequest]:
    """Within the block, the first signal sets the request, and a second ends the process.

    At once means without any cleaning up: what is on disk is whole at every instant, and Ray's processes end with
    the one that started them. In a thread that is not the main one nothing is set: Python calls handlers in the main
    thread alone, and what they do there is the program's.

    Args:
        patience: seconds after the first signal in which the block has to end; the process ends at once otherwise.
        own_process: false in a program or a notebook, which may hold other work: nothing ends its process, and a
            second signal does what it did before the block, as raising KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    former = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}

    def as_before(signum: int) -> None:
        signal.signal(signum, former[signal.Signals(signum)])
        signal.raise_signal(signum)

    request = StopRequest(None if own_process else as_before)

    def ask(signum: int, frame: FrameType | None) -> None:
        request.ask(signum)

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        with nullcontext() if patience is None or not own_process else _ended_within(patience):
            yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _end_at_once(signum: int, why: str = "") -> None:
    """End the process as a signal does, with no cleaning up; whoever read what it writes may be gone, or not read."""
    try:
        if os.isatty(1):
            _write(1, _SHOW_CURSOR)
        _write(2, why)
    finally:
        os._exit(128 + signum)


def _write(descriptor: int, text: str) -> None:
    with suppress(OSError):
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, text.encode())


@contextmanager
def _ended_within(patience: float) -> Iterator[None]:
    """Watch from a thread: where the main one is in C++ that waits, Python hears of a signal only afterwards."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        heard = StopRequest()
        why = f"not stopped {patience:g} s after the signal, and ended: the same command goes on\n"
        while True:
            left = max(0.0, heard.since + patience - time.monotonic()) if heard else None
            if not select.select([reader], [], [], left)[0]:
                _end_at_once(heard.signum or 0, why)
            came = os.read(reader, 1)
            if came == _OVER:
                return
            if came[0] in SIGNALS:
                heard.ask(came[0])

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # gets the number of every signal at once
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        os.write(writer, _OVER)
        watching.join()
        os.close(writer)
        os.close(reader)
