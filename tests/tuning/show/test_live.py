"""Where a live display shows itself: a terminal, a notebook, a pipe, or nowhere."""

import io
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from losstune.tuning.show import live
from losstune.tuning.show.live import LiveDisplay, view_on


class Counted(LiveDisplay):
    """Counts what it is told."""

    count = 0

    def counted(self) -> None:
        self.count += 1
        self._view.changed()

    def _table(self) -> Text:
        return Text(f"table of {self.count} <b>", style="bold")

    def _lines(self) -> Iterator[str]:
        yield f"line of {self.count}"


class Clock:
    """Time that goes on when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live, "time", made)
    return made


class Notebook:
    """IPython's display as a notebook keeps it: one list of outputs, those with an id changed in place."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.updates = 0

    def display(self, shown: Any, *, raw: bool = False, display_id: bool = False) -> "Output | None":
        self.outputs.append(shown)
        return Output(self, len(self.outputs) - 1) if display_id else None


class Output:
    def __init__(self, notebook: Notebook, place: int) -> None:
        self._notebook = notebook
        self._place = place

    def update(self, shown: Any, *, raw: bool) -> None:
        assert raw
        self._notebook.outputs[self._place] = shown
        self._notebook.updates += 1


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook()
    module = ModuleType("IPython.display")
    module.display = made.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return made


def test_a_pipe_gets_lines_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    out = io.StringIO()
    with Counted(Console(file=out)) as shown:
        for _ in range(30):
            clock.now += 1
            shown.counted()
    assert out.getvalue().splitlines() == ["line of 11", "line of 22", "line of 30"]


def test_a_terminal_keeps_the_last_table() -> None:
    out = io.StringIO()
    with Counted(Console(file=out, force_terminal=True, width=80)) as shown:
        shown.counted()
    assert out.getvalue().rstrip().splitlines()[-1].endswith("table of 1 <b>\x1b[0m")
    assert "line of" not in out.getvalue()


def test_what_is_read_anew_is_drawn_where_changes_are_told_and_nowhere_else() -> None:
    out, read = io.StringIO(), list[int]()

    def drawn() -> Text:
        read.append(threading.get_ident())
        return Text(f"reading {len(read)}")

    view = view_on(Console(file=out, force_terminal=True, width=80), drawn, lambda: [], reads=True)
    view.start()
    view.changed()
    view.changed()
    assert "reading 3" in out.getvalue()
    view.stop()
    assert read == [threading.get_ident()] * 4
    assert out.getvalue().rstrip().splitlines()[-1].endswith("reading 4")
    assert "reading 5" not in out.getvalue()


def test_a_notebook_has_one_output_that_changes_in_place(clock: Clock, notebook: Notebook) -> None:
    with Counted(Console(force_jupyter=True, width=80)) as shown:
        assert [output["text/plain"] for output in notebook.outputs] == ["table of 0 <b>\n"]
        for _ in range(10):
            clock.now += 0.2
            shown.counted()
        assert notebook.updates == 3  # not more often than twice a second
    (output,) = notebook.outputs
    assert output["text/plain"] == "table of 10 <b>\n"
    assert '<span style="font-weight: bold">table of 10 &lt;b&gt;</span>' in output["text/html"]


def test_notes_stand_once_each_in_a_notebook_too(notebook: Notebook) -> None:
    with Counted(Console(force_jupyter=True, width=80)) as shown:
        shown.notes(["cut [1, 2]", "cut [1, 2]"])
        shown.notes(["cut [1, 2]", "other"])
    assert [output.text for output in notebook.outputs[1:]] == ["cut [1, 2]\n", "other\n"]


@pytest.mark.parametrize("kind", [{"force_terminal": True}, {"force_jupyter": True}, {}], ids=str)
def test_a_quiet_console_shows_nothing_and_leaves_the_users_prints_alone(
    kind: dict[str, bool], notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.StringIO()
    with Counted(Console(quiet=True, file=out, **kind)) as shown:  # type: ignore[arg-type]
        shown.notes(["a note"])
        shown.counted()
        print("the user's own")
    assert (out.getvalue(), notebook.outputs) == ("", [])
    assert capsys.readouterr().out == "the user's own\n"


def test_seconds_count_from_the_beginning_of_the_work(clock: Clock) -> None:
    display = Counted(Console(file=io.StringIO()))
    clock.now += 50
    with display:
        clock.now += 3
        assert display._seconds == 3
