"""An earlier commit's code, to be measured beside this one: installed in a temporary folder of its own."""

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
def installed(commit: str = LAST_RELEASE) -> Iterator[Path]:
    """The packages of a commit, in a folder that goes with the block, with the metadata by which losses are found."""
    with tempfile.TemporaryDirectory(prefix="before-") as folder:
        sources, packages = Path(folder) / "sources", Path(folder) / "packages"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(sources)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=sources, check=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*install, "--target", str(packages), str(sources)], check=True)
        yield packages


def python_of(packages: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """A command line and its environment: this Python, which takes losstune from a folder first of all."""
    return [sys.executable, "-P", *arguments], {**os.environ, "PYTHONPATH": str(packages)}
