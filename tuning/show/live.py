"""What is shown while work goes on: one live table on a terminal or in a notebook, short plain lines in a pipe.

Everything goes through the console that is passed in: one made with ``quiet=True`` shows nothing, wherever it is.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live

from losstune.trainer.base.console import say
from losstune.tuning.show.notebook import shown_forms

LINE_EVERY_SECONDS = 10.0
DRAW_EVERY_SECONDS = 0.5

Drawn = Callable[[], RenderableType]
Lines = Callable[[], Iterable[str]]


class LiveDisplay(ABC):
    """Follows some work from its beginning to its end; what goes on is told to its subclass."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()
        self._began = time.monotonic()
        self._view = view_on(console, self._table, self._lines)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._view.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._view.stop()

    def notes(self, notes: Iterable[str]) -> None:
        """What the user should know, once."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                say(self._console, note)

    @property
    def _seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._began

    @abstractmethod
    def _table(self) -> RenderableType:
        """All that is known now."""

    @abstractmethod
    def _lines(self) -> Iterable[str]:
        """The same in a few plain lines."""


class View(Protocol):
    """One way of showing what changes."""

    def start(self) -> None:
        """The work begins."""

    def changed(self) -> None:
        """Something has changed; to be called as often as it does."""

    def stop(self) -> None:
        """The work is over: what is shown now stays."""


def view_on(console: Console, drawn: Drawn, lines: Lines, *, reads: bool = False) -> View:
    """The view that suits where a console writes.

    Args:
        reads: drawing takes files or a database, and is done where changes are told, not in a thread behind it.
    """
    if console.quiet:  # rich's Live would still take sys.stdout over, and lose what the user prints
        return LinesView(console, lines)
    if console.is_jupyter:
        return NotebookView(console, drawn)
    if not console.is_terminal:
        return LinesView(console, lines)
    return ReadView(console, drawn) if reads else TerminalView(console, drawn)


class TerminalView:
    """A table that a thread draws twice a second."""

    def __init__(self, console: Console, drawn: Drawn) -> None:
        self._console = console
        self._drawn = drawn
        self._live: Live | None = None

    def start(self) -> None:
        self._live = Live(get_renderable=self._drawn, console=self._console, refresh_per_second=2, transient=True)
        self._live.start()

    def changed(self) -> None:
        pass  # the thread sees to it

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print(self._drawn())


class ReadView:
    """A table that is drawn anew at each change."""

    def __init__(self, console: Console, drawn: Drawn) -> None:
        self._console = console
        self._drawn = drawn
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def start(self) -> None:
        drawn = self._drawn()
        self._live.start()
        self._live.update(drawn, refresh=True)

    def changed(self) -> None:
        self._live.update(self._drawn(), refresh=True)

    def stop(self) -> None:
        self._live.stop()
        self._console.print(self._drawn())


class LinesView:
    """Plain lines, every ten seconds and at the end."""

    def __init__(self, console: Console, lines: Lines) -> None:
        self._console = console
        self._lines = lines
        self._line_at = time.monotonic()

    def start(self) -> None:
        self._line_at = time.monotonic()

    def changed(self) -> None:
        if time.monotonic() - self._line_at > LINE_EVERY_SECONDS:
            self._say()

    def stop(self) -> None:
        self._say()

    def _say(self) -> None:
        self._line_at = time.monotonic()
        for line in self._lines():
            say(self._console, line)


class NotebookView:
    """One output of the cell, which is put in place of itself whenever something has changed.

    rich's own Live needs ipywidgets in a notebook, shows nothing but a warning without them, and leaves nothing behind
    in a saved notebook. An output with an id needs IPython alone, which every notebook has.
    """

    def __init__(self, console: Console, drawn: Drawn) -> None:
        self._width = console.width
        self._drawn = drawn
        self._drawn_at = 0.0
        self._output: Any = None

    def start(self) -> None:
        from IPython.display import display

        self._output = display(self._bundle(), raw=True, display_id=True)

    def changed(self) -> None:
        if time.monotonic() - self._drawn_at > DRAW_EVERY_SECONDS:
            self._output.update(self._bundle(), raw=True)

    def stop(self) -> None:
        self._output.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        self._drawn_at = time.monotonic()
        return shown_forms(lambda console: console.print(self._drawn()), self._width)
