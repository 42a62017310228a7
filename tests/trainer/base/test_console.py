"""A line is printed as it is."""

import io
import os
import sys
from pathlib import Path

from rich.console import Console

from losstune.trainer.base.console import beside, say


def test_a_line_is_neither_wrapped_nor_marked_up_nor_coloured() -> None:
    stream = io.StringIO()
    line = "[bold]42[/bold] " + "/a/long/path" * 20
    say(Console(file=stream, width=20, force_terminal=True, color_system="truecolor"), line)
    assert stream.getvalue() == f"{line}\n"


def test_what_was_written_to_a_pipe_is_not_followed_by_what_is_said_of_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    assert beside(tmp_path / "file") is sys.stdout
    assert beside(tmp_path / "pipe") is sys.stderr
