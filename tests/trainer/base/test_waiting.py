"""A bar shows on a terminal, once the work has taken two seconds, where it is wished, and nowhere else."""

import io

import pytest

from losstune.trainer.base import waiting
from losstune.trainer.base.waiting import bars_shown, shown_if_long


class Terminal(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("is_terminal", "seconds", "wished", "shows"),
    [(True, 3.0, True, True), (True, 0.4, True, False), (False, 3.0, True, False), (True, 3.0, False, False)],
)
def test_a_bar_with_the_time_left(
    is_terminal: bool, seconds: float, wished: bool, shows: bool, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with bars_shown(wished), shown_if_long("Checking [pairs]", 100) as advance:
        for _ in range(4):
            clock[0] += seconds
            advance(20)
            advance(5)
    assert ("Checking [pairs]" in screen.getvalue()) == shows
    assert ("100%" in screen.getvalue()) == shows


def test_work_that_fails_leaves_no_bar_behind(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal(is_terminal=True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")

    def work() -> None:
        with shown_if_long("Checking", 100) as advance:
            clock[0] = 3
            advance(20)
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        work()
    assert screen.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, and the line is wiped
