"""A table as a plain value, and how a terminal shows it. The report's template shows the same value as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from losstune.tuning.confirm.statistics import Difference, Interval

NONE = "–"
"""What stands where there is no value."""
_ANY_WIDTH = 10_000


@dataclass(frozen=True)
class Measured:
    """A value with its 95 % limits; a page has room for both limits, a terminal for half the width between them."""

    limits: Interval | Difference
    signed: bool = False


@dataclass(frozen=True)
class Noted:
    """A text, and a smaller one that belongs to it: under it on a page, behind it on a terminal."""

    text: str
    note: str


Cell = str | Measured | Noted


@dataclass(frozen=True)
class Column:
    """The heading of a column, and what the column holds.

    Attributes:
        short: heading on a terminal, where it differs.
        words: whether it holds words, which begin on the left; numbers end on the right.
        page_only: whether a terminal has no room for it.
        spare: a narrow terminal leaves out the columns with the highest first, and of equals the last one.
        wraps: whether its words may stand in several lines on a terminal.
    """

    heading: str
    short: str = ""
    words: bool = False
    page_only: bool = False
    spare: int = 0
    wraps: bool = False


@dataclass(frozen=True)
class TableRow:
    """A name, and a cell for every column but the first.

    Attributes:
        loss: whose mark a page shows beside the name, None for what belongs to no loss.
        quiet: whether the row is beside the point.
    """

    name: str
    cells: Sequence[Cell]
    loss: str | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, that of the names first, and rows."""

    columns: Sequence[Column]
    rows: Sequence[TableRow]

    @property
    def marked(self) -> bool:
        """Whether rows carry the mark of their loss."""
        return any(row.loss is not None for row in self.rows)


def number_text(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """``0.357``, or with a sign ``+0.357``; a dash for no value."""
    return NONE if value is None else f"{value:{'+' if signed else ''}.{digits}f}"


def plus_minus(limits: Interval | Difference, *, signed: bool = False) -> str:
    """``0.357 ±0.031``: the intervals are symmetric, and this fits a narrow terminal."""
    return f"{number_text(limits.value, signed=signed)} ±{(limits.high - limits.low) / 2:.3f}"


class TerminalTable:
    """A table on a terminal, without what only a page has room for; on a narrow one with fewer columns, none cut."""

    def __init__(self, table: Table, title: str | None = None) -> None:
        """``title`` stands above it."""
        self._table = table
        self._title = title

    def fits(self, console: Console) -> bool:
        """Whether a console has room for all of its columns."""
        return self._width(console, self._places()) <= console.width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints: columns as far as they fit, and the names of the others."""
        places = self._places()
        left_out: list[int] = []
        while len(places) > 1 and self._width(console, places) > options.max_width:
            left_out.append(max(places[1:], key=lambda place: (self._table.columns[place].spare, place)))
            places.remove(left_out[-1])
        yield self._shown(places)
        if left_out:
            names = ", ".join(_heading(self._table.columns[place]) for place in sorted(left_out))
            yield Text(f"No room for: {names}", style="dim")

    def _places(self) -> list[int]:
        return [place for place, column in enumerate(self._table.columns) if not column.page_only]

    def _width(self, console: Console, places: Sequence[int]) -> int:
        unbound = console.options.update(width=_ANY_WIDTH)  # rich says no more than the width that it is given
        return console.measure(self._shown(places, narrowest=True), options=unbound).maximum

    def _shown(self, places: Sequence[int], *, narrowest: bool = False) -> RichTable:
        title = None if self._title is None else Text(self._title, style="table.title")  # rich reads text as markup
        shown = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        columns = [self._table.columns[place] for place in places]
        alone = len(places) == 1  # nothing is left that could make room for the names
        for place, column in zip(places, columns, strict=True):
            justify: Literal["left", "right"] = "left" if place == 0 or column.words else "right"
            no_wrap = not (column.wraps or alone)
            shown.add_column(Text(_heading(column)), justify=justify, no_wrap=no_wrap, overflow="fold")
        for row in self._table.rows:
            cells = [row.name, *(_line(cell) for cell in row.cells)]
            texts = [cells[place] for place in places]
            if narrowest:
                texts = [_longest_word(text) if c.wraps else text for text, c in zip(texts, columns, strict=True)]
            shown.add_row(*map(Text, texts))
        return shown


def _heading(column: Column) -> str:
    return column.short or column.heading


def _longest_word(text: str) -> str:
    return max(text.split(), key=len, default="")


def _line(cell: Cell) -> str:
    match cell:
        case Measured(limits, signed):
            return plus_minus(limits, signed=signed)
        case Noted(text, note):
            return f"{text} {note}"
        case str():
            return cell
