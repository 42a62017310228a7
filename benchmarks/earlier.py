"""An earlier commit's code, to be measured beside this one: checked out to a temporary folder, nothing is installed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAST_RELEASE = "efdaf69"

COMMAND = """
try:
    from tuning.cli import main  # before all packages had one name
except ImportError:
    from losstune.tuning.cli.app import main
main()
"""
"""The command losstune as a program, on whichever side it runs."""


@contextmanager
def checked_out(commit: str = LAST_RELEASE) -> Iterator[Path]:
    """The sources of a commit, in a folder that goes with the block."""
    with tempfile.TemporaryDirectory(prefix="losstune-before-") as folder:
        sources = Path(folder) / "before"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(sources)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=sources, check=True)
        yield sources


def python_of(sources: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """A command line and its environment: this Python, which takes losstune from ``sources`` first of all."""
    return [sys.executable, "-P", *arguments], {**os.environ, "PYTHONPATH": str(sources)}
