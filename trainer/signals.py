"""The first SIGINT or SIGTERM asks to stop; the second stops at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    """Within the block, the first signal sets the request; then the former handlers stand again."""
    request = StopRequest()
    former = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def ask(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        restore()

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
