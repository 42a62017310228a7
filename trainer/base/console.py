"""How a line is printed."""

from rich.console import Console


def say(console: Console, line: str) -> None:
    """Print one plain line: no wrapping, no markup, no colours."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
