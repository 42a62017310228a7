"""How a line is printed, and where."""

import sys
from pathlib import Path
from typing import TextIO

from rich.console import Console


def say(console: Console, line: str) -> None:
    """Print one plain line: no wrapping, no markup, no colours."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def beside(output: Path) -> TextIO:
    """Where to say what was written to a path: standard output, unless that may be what was written to."""
    return sys.stdout if output.is_file() else sys.stderr
