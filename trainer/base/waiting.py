"""What a terminal shows while a long piece of work runs that usually is a short one."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

PATIENCE_SECONDS = 2.0
_BARS: ContextVar[bool] = ContextVar("bars", default=True)


@contextmanager
def bars_shown(shown: bool) -> Iterator[None]:
    """Whether bars show in the block: a program may have asked for quiet far from the work that takes long."""
    token = _BARS.set(shown)
    try:
        yield
    finally:
        _BARS.reset(token)


@contextmanager
def shown_if_long(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A block that reports its advance; a bar with the time left shows once it has taken two seconds.

    The bar is on standard error, on a terminal only, and goes when the block ends.

    Args:
        what: stands before the bar.
        total: all of the work, in the unit in which the block reports.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        done = 0
        update: Callable[[int], None] | None = None

        def advance(more: int) -> None:
            nonlocal done, update
            done += more
            if update is None and _BARS.get() and sys.stderr.isatty() and time.monotonic() - began > PATIENCE_SECONDS:
                update = _bar(what, total, stack)
            if update is not None:
                update(done)

        yield advance


def _bar(what: str, total: int, stack: ExitStack) -> Callable[[int], None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = progress.add_task(what, total=total)
    return lambda done: progress.update(task, completed=done)
