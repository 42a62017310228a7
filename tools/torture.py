"""Injects faults into whole studies: the long layer of tests/reliability, and one table of what was lost.

    make torture
    make torture-sample DAY=20261128   # a part of them: as many of each file as were drawn for that day

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
    ("storage", "exposure", "fuzz", "damage"),
    ("driver_kills", "worker_kills", "changed", "hostile", "bad_trials", "launched_twice"),
)
"""Two parts of about the same length; all other tests are in the third. ``storage`` and ``exposure`` are in one: a
namespace of the second holds every file system that is mounted when it begins."""


def files(part: Sequence[str]) -> list[Path]:
    """The files of a part."""
    return [TESTS / f"test_{name}.py" for name in part]


def start(chosen: Sequence[Path], output: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """Tests in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=10", *map(str, chosen)]
    seed = [f"--hypothesis-seed={day}"] if (day := os.environ.get("LOSSTUNE_SAMPLE")) else []
    return subprocess.Popen(
        [*command, *seed, "-m", "torture"],
        env={**os.environ, **environment},
        cwd=TESTS.parents[1],
        stdout=output,
        stderr=output,
    )


def main() -> int:
    """Run the parts; the last one prints the table of all."""
    first, second = map(files, BESIDE)
    others = sorted(set(TESTS.glob("test_*.py")) - {*first, *second})
    with tempfile.TemporaryDirectory(prefix="torture-") as tallies, tempfile.TemporaryFile() as later:
        leave = {"LOSSTUNE_LEAVE_TALLIES": tallies}
        both = [start(first, None, **leave), start(second, later.fileno(), **leave)]
        codes = [process.wait() for process in both]
        later.seek(0)
        print(later.read().decode(), flush=True)
        codes.append(start(others, LOSSTUNE_TAKE_TALLIES=tallies).wait())
    return int(any(codes))  # a process that was killed has a negative code


if __name__ == "__main__":
    sys.exit(main())
