"""A line is printed as it is."""

import io

from rich.console import Console

from losstune.trainer.base.console import say


def test_a_line_is_neither_wrapped_nor_marked_up_nor_coloured() -> None:
    stream = io.StringIO()
    line = "[bold]42[/bold] " + "/a/long/path" * 20
    say(Console(file=stream, width=20, force_terminal=True, color_system="truecolor"), line)
    assert stream.getvalue() == f"{line}\n"
