"""A table on a terminal: its headings, its cells, and what only a page has room for."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.statistics import Difference, Interval
from losstune.tuning.show.comparison import show_comparison
from losstune.tuning.show.status import list_json, list_table, status_table
from losstune.tuning.show.table import (
    Column,
    Measured,
    Noted,
    Table,
    TableRow,
    TerminalTable,
    number_text,
    plus_minus,
)
from tests.tuning.reported import confirmed, searched

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


def printed(table: Table, title: str | None = None, width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(TerminalTable(table, title))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_terminal_has_short_headings_one_line_a_cell_and_no_page_columns() -> None:
    assert printed(TABLE, "title") == [
        "title",
        "tuned          score  why",
        "──────────────────────────────────────",
        "mse     0.331 ±0.011  short",
        "cosine    is untuned  a longer reason",
    ]


def test_what_stands_in_brackets_is_no_markup() -> None:
    table = Table([Column("a [b]"), Column("[red]x")], [TableRow("[i]c", ["[/i]"])])
    assert printed(table, "[bold]a :cat:") == [
        "[bold]a :cat:",
        "a [b]  [red]x",
        "──────────────",
        "[i]c     [/i]",
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
def test_a_table_fits_where_there_is_room_for_all_columns(width: int, fit: bool) -> None:
    assert TerminalTable(TABLE).fits(Console(width=width, file=io.StringIO())) is fit


def test_a_narrow_terminal_gets_fewer_columns_and_no_cell_is_cut() -> None:
    assert printed(TABLE, width=37) == [
        "tuned          score",
        "─────────────────────",
        "mse     0.331 ±0.011",
        "cosine    is untuned",
        "No room for: why",
    ]
    spare = Table([TABLE.columns[0], Column("a score", spare=1), *TABLE.columns[2:]], TABLE.rows)
    assert printed(spare, width=37)[2:] == ["mse     short", "cosine  a longer reason", "No room for: a score"]
    assert printed(TABLE, width=10) == ["tuned", "───────", "mse", "cosine", "No room", "for:", "score, why"]


def test_names_that_are_too_long_even_alone_stand_in_several_lines() -> None:
    lines = printed(Table([Column("study"), Column("best")], [TableRow("a-name-of-16-let", ["0.5"])]), width=10)
    assert "".join(lines[2:4]) == "a-name-of-16-let"


def test_words_may_stand_in_several_lines() -> None:
    columns = [Column("study"), Column("losses", words=True, wraps=True), Column("best")]
    table = Table(columns, [TableRow("one", ["infonce, cosine, mse", "0.5432"])])
    assert TerminalTable(table).fits(Console(width=24, file=io.StringIO()))
    assert [line.split() for line in printed(table, width=24)[2:]] == [
        ["one", "infonce,", "0.5432"], ["cosine,"], ["mse"],
    ]  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_nothing_that_is_shown_is_half_a_number(width: int, tmp_path: Path) -> None:
    """Of a study's status, of the list, and of a confirmation's comparison: each number is whole, or is not there."""
    study = confirmed(searched(tmp_path, (4, 4)))
    console = Console(width=10_000, file=io.StringIO())
    shown = [
        lambda c: c.print(status_table(study)),
        lambda c: c.print(list_table(list_json(study.home), study.home.where)),
    ]
    shown.append(lambda c: show_comparison(compare(study), c))
    for show in shown:
        with console.capture() as whole:
            show(console)
        narrow = Console(width=width, file=io.StringIO())
        with narrow.capture() as capture:
            show(narrow)
        assert "…" not in capture.get().replace(" … ", "")
        known = set(re.findall(r"[\d.]+", whole.get()))
        rows = [line for line in capture.get().splitlines() if "±" in line or re.search(r"0\.\d{4}", line)]
        assert rows or width == 20
        assert {number for row in rows for number in re.findall(r"[\d.]+", row)} <= known
        assert max(map(len, rows), default=0) <= width
