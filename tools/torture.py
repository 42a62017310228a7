"""Injects faults into whole studies: the long layer of tests/reliability, and one table of what was lost.

    make torture

Tests whose outcome no load changes run first, in two processes beside each other; those that look at times, or at all
processes of the machine, have it to themselves afterwards.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests" / "reliability"
BESIDE = (
    ("storage", "bad_trials", "launched_twice", "fuzz"),
    ("worker_kills", "exposure", "damage", "changed", "hostile"),
)
"""Two parts of about the same length; all other tests are in the third."""


def files(part: Sequence[str]) -> list[Path]:
    """The files of a part."""
    return [TESTS / f"test_{name}.py" for name in part]


def start(chosen: list[Path], tallies: str, output: int | None = None) -> subprocess.Popen[bytes]:
    """Tests in a process of their own, which leaves what it counted in a folder."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=20", *map(str, chosen)]
    environment = {**os.environ, "LOSSTUNE_TALLIES": tallies}
    return subprocess.Popen(
        [*command, "-m", "torture"], env=environment, cwd=TESTS.parents[1], stdout=output, stderr=output
    )


def main() -> int:
    """Run the parts; the last one prints the table of all."""
    others = sorted(set(TESTS.glob("test_*.py")) - set(files(BESIDE[0] + BESIDE[1])))
    with tempfile.TemporaryDirectory(prefix="torture-") as tallies, tempfile.TemporaryFile() as later:
        both = [start(files(BESIDE[0]), tallies), start(files(BESIDE[1]), tallies, later.fileno())]
        codes = [process.wait() for process in both]
        later.seek(0)
        sys.stdout.write(later.read().decode())
        sys.stdout.flush()
        codes.append(start(others, tallies).wait())
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
