"""A table on a terminal: its headings, its cells, and what only a page has room for."""

import io

import pytest
from rich.console import Console

from losstune.tuning.confirm.statistics import Difference, Interval
from losstune.tuning.show.table import (
    Column,
    Measured,
    Noted,
    Table,
    TableRow,
    fits,
    number_text,
    plus_minus,
    terminal_table,
)

TABLE = Table(
    [
        Column("loss", short="tuned"),
        Column("a score", short="score"),
        Column("why", words=True),
        Column("runs", page_only=True),
    ],
    [
        TableRow("mse", [Measured(Interval(0.3306, 0.3196, 0.3416)), "short", "mse-0001"]),
        TableRow("cosine", ["is untuned", Noted("a longer", "reason"), "cosine-0001"]),
    ],
)


def printed(table: Table, title: str | None = None) -> list[str]:
    console = Console(width=100, file=io.StringIO())
    with console.capture() as capture:
        console.print(terminal_table(table, title))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_terminal_has_short_headings_one_line_a_cell_and_no_page_columns() -> None:
    assert printed(TABLE, "title") == [
        "title",
        "tuned          score  why",
        "──────────────────────────────────────",
        "mse     0.331 ±0.011  short",
        "cosine    is untuned  a longer reason",
    ]


def test_a_table_without_rows_has_its_headings() -> None:
    assert printed(Table(TABLE.columns, []))[0] == "tuned  score  why"


def test_rows_are_marked_if_any_has_a_loss() -> None:
    assert not TABLE.marked
    assert Table(TABLE.columns, [TableRow("ridge", []), TableRow("mse untuned", [], "mse")]).marked


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [(0.35678, 3, False, "0.357"), (0.35678, 1, True, "+0.4"), (-0.2, 3, True, "-0.200"), (None, 3, True, "–")],
)
def test_a_number(value: float | None, digits: int, signed: bool, text: str) -> None:
    assert number_text(value, digits, signed=signed) == text


def test_half_the_width_between_the_limits() -> None:
    assert plus_minus(Interval(0.357, 0.326, 0.388)) == "0.357 ±0.031"
    assert plus_minus(Difference(0.05, 0.03, 0.07, 0.01, 1.0), signed=True) == "+0.050 ±0.020"


@pytest.mark.parametrize(("width", "fit"), [(200, True), (38, True), (37, False), (20, False)])
def test_a_table_fits_where_no_cell_is_cut(width: int, fit: bool) -> None:
    console = Console(width=width, file=io.StringIO())
    table = terminal_table(TABLE)
    assert fits(table, console) is fit
    with console.capture() as capture:
        console.print(table)
    assert ("…" not in capture.get()) is fit
