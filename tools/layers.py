"""Runs the layers that have to pass, until one fails, and tells where the time went.

    .ci/run                            what is drawn is drawn by today's date
    DAY=20261128 .ci/run               the same as on that day

Needs nothing but Python: on a clean checkout nothing is installed yet.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("setup", "test", "integration", "torture-sample", "demo", "slow-sample")
SLOWEST = 10


@dataclass
class Ran:
    """A layer, how long it took, and each of its tests with its seconds."""

    layer: str
    passed: bool = True
    seconds: float = 0.0
    tests: dict[str, float] = field(default_factory=dict)


def run(layer: str) -> Ran:
    """``make LAYER``, with the times that each of its processes leaves."""
    ran, began = Ran(layer), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="times-") as folder:
        command = ["make", "--no-print-directory", layer]
        environment = {**os.environ, "LOSSTUNE_LEAVE_TIMES": folder}
        ran.passed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
        ran.seconds = time.monotonic() - began
        for left in Path(folder).iterdir():
            ran.tests |= json.loads(left.read_text())
    return ran


def table(all_ran: list[Ran]) -> str:
    """A line for each layer, and one for each of the slowest tests of all."""
    lines = ["", f"{'layer':<16} {'tests':>6} {'minutes':>8}"]
    for ran in all_ran:
        failed = "" if ran.passed else "  FAILED"
        lines.append(f"{ran.layer:<16} {len(ran.tests) or '':>6} {ran.seconds / 60:>8.1f}{failed}")
    tests = sum(len(ran.tests) for ran in all_ran)
    lines.append(f"{'all':<16} {tests:>6} {sum(ran.seconds for ran in all_ran) / 60:>8.1f}")
    lines += ["", f"{'seconds':>7}  the {SLOWEST} slowest tests, with what they were the first to set up"]
    slowest = sorted(((seconds, test) for ran in all_ran for test, seconds in ran.tests.items()), reverse=True)
    lines += [f"{seconds:>7.1f}  {test}" for seconds, test in slowest[:SLOWEST]]
    return "\n".join(lines)


def main() -> int:
    """1 if a layer failed; the ones after it are not run."""
    os.environ["CI"] = "1"  # property-based tests outside the sample draw the same cases each time
    day = os.environ.setdefault("DAY", f"{date.today():%Y%m%d}")  # the Makefile's, set once: a run may pass midnight
    print(f"Sampled layers are drawn by DAY={day}; the same again: DAY={day} .ci/run", flush=True)
    all_ran: list[Ran] = []
    for layer in LAYERS:
        all_ran.append(run(layer))
        if not all_ran[-1].passed:
            break
    print(table(all_ran))
    return int(not all_ran[-1].passed)


if __name__ == "__main__":
    sys.exit(main())
