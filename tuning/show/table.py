"""A table as a plain value, and how a terminal shows it. The report's template shows the same value as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

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
    """

    heading: str
    short: str = ""
    words: bool = False
    page_only: bool = False


@dataclass(frozen=True)
class TableRow:
    """A name, and a cell for every column but the first.

    Attributes:
        loss_fn: whose mark a page shows beside the name, None for what belongs to no loss.
        quiet: whether the row is beside the point.
    """

    name: str
    cells: Sequence[Cell]
    loss_fn: str | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, that of the names first, and rows."""

    columns: Sequence[Column]
    rows: Sequence[TableRow]

    @property
    def marked(self) -> bool:
        """Whether rows carry the mark of their loss."""
        return any(row.loss_fn is not None for row in self.rows)


def number_text(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """``0.357``, or with a sign ``+0.357``; a dash for no value."""
    return NONE if value is None else f"{value:{'+' if signed else ''}.{digits}f}"


def plus_minus(limits: Interval | Difference, *, signed: bool = False) -> str:
    """``0.357 ±0.031``: the intervals are symmetric, and this fits a narrow terminal."""
    return f"{number_text(limits.value, signed=signed)} ±{(limits.high - limits.low) / 2:.3f}"


def terminal_table(table: Table, title: str | None = None) -> RichTable:
    """A table for a terminal, which leaves out what only a page has room for."""
    shown = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    kept = [place for place, column in enumerate(table.columns) if not column.page_only]
    for place in kept:
        column = table.columns[place]
        words = place == 0 or column.words
        shown.add_column(column.short or column.heading, justify="left" if words else "right", no_wrap=True)
    for row in table.rows:
        cells = [row.name, *(_line(cell) for cell in row.cells)]
        shown.add_row(*(cells[place] for place in kept))
    return shown


def fits(table: RichTable, console: Console) -> bool:
    """Whether a console shows a table without cutting a cell."""
    unbound = console.options.update(width=_ANY_WIDTH)  # rich says no more than the width that it is given
    return console.measure(table, options=unbound).maximum <= console.width


def _line(cell: Cell) -> str:
    match cell:
        case Measured(limits, signed):
            return plus_minus(limits, signed=signed)
        case Noted(text, note):
            return f"{text} {note}"
        case str():
            return cell
