"""Takes the protection behind each promise of docs/reliability.md away, one at a time: each time a test must fail.

    make torture-selftest

Works on a copy of the sources; nothing here is changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools.removals import REMOVALS, Removal

ROOT = Path(__file__).parents[1]
PARTS = ("losstune", "trainer", "tuning", "search_spaces", "tests", "benchmarks", "docs", "pyproject.toml", "README.md")
TOO_LONG = 900


def run_tests(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The tests in the copy, all layers."""
    quick = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk"]
    command = [sys.executable, "-m", "pytest", *quick, "-m", "", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TOO_LONG, check=False
    )


def without(copy: Path, removal: Removal) -> str:
    """Take a protection away in the copy; returns what stood in the file."""
    path = copy / removal.file
    text = path.read_text()
    if text.count(removal.old) != 1:
        sys.exit(f"{removal.file}: {removal.old!r} stands there {text.count(removal.old)} times; expected once")
    path.write_text(text.replace(removal.old, removal.new))
    return text


def main() -> int:
    """Print what was noticed; 0 if all was."""
    table = Table("promise", "protection taken away", "noticed", "by", "seconds", title="Self-test")
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="selftest-") as folder:
        copy = Path(folder)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, symlinks=True)
            else:
                shutil.copy(source, copy / part)
        every = tuple(dict.fromkeys(test for removal in REMOVALS for test in removal.tests))
        whole = run_tests(copy, every)
        if whole.returncode != 0:
            sys.exit(f"the tests fail before anything is taken away:\n{whole.stdout[-3000:]}")
        for removal in REMOVALS:
            began = time.monotonic()
            text = without(copy, removal)
            ended = run_tests(copy, removal.tests)
            (copy / removal.file).write_text(text)
            failed = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            noticed = ended.returncode == 1 and bool(failed)
            unnoticed += not noticed
            by = failed[0].split("::", 1)[-1] if failed else f"pytest ended with {ended.returncode}"
            seconds = f"{time.monotonic() - began:.0f}"
            table.add_row(str(removal.promise), removal.protection, "yes" if noticed else "NO", by[:60], seconds)
            print(f"{removal.promise:2d} {removal.protection}: {'noticed' if noticed else 'NOT NOTICED'}", flush=True)
    Console(width=140).print(table)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
