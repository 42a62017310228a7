"""The first SIGINT or SIGTERM asks to stop; the second stops at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h\n"  # a progress display hides it


class StopRequest:
    """Whether a signal has asked to stop, and the exit code that says so."""

    signum: int | None = None

    def __bool__(self) -> bool:
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM."""
        return 128 + (self.signum or 0)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block, the first signal sets the request, and a second ends the process.

    At once means without any cleaning up: what is on disk is whole at every instant, and Ray's processes end with
    the one that started them.
    """
    request = StopRequest()
    former = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(signum: int, frame: FrameType | None) -> None:
        if request:
            if os.isatty(1):
                os.write(1, _SHOW_CURSOR)
            os._exit(128 + signum)
        request.signum = signum

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
