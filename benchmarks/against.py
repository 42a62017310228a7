"""This code beside an earlier commit's, in one run on one machine.

    python benchmarks/against.py [--commit efdaf69] [--rounds 5]

Checks the commit out to a temporary folder and times both sides in turn, each in processes of its own with one
thread; prints medians and their ratio.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

from earlier import LAST_RELEASE, ROOT, installed, python_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

RANKING = """
import json, time, torch
try:
    from trainer.metrics import rank_in_gallery  # before all packages had one name
except ImportError:
    from losstune.trainer.score.metrics import rank_in_gallery

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
queries, gallery = (torch.randn(20_000, 384, generator=generator) for _ in range(2))
positive = torch.randperm(20_000, generator=generator)
began = time.process_time()
found = rank_in_gallery(queries, gallery, positive)
print(json.dumps({"seconds": time.process_time() - began, "mrr": found.mrr()}))
"""

CASES = {"ranking 20,000 queries in 20,000 targets of 384 dimensions": RANKING}
"""What is timed, as a program that runs on both sides and prints its seconds and what it computed."""


def run(program: str, sources: Path) -> dict[str, float]:
    """What a program prints on the sources in a folder."""
    command, environment = python_of(sources, "-c", program)
    done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Time every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default=LAST_RELEASE, help="the earlier code")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side")
    given = parser.parse_args()
    table = Table("one core", "before, s", "now, s", "times as fast")
    with installed(given.commit) as before:
        for name, program in CASES.items():
            sides: dict[Path, list[float]] = {before: [], ROOT: []}
            results = set()
            for _ in track(range(given.rounds), name, console=Console(stderr=True)):
                for sources, seconds in sides.items():
                    found = run(program, sources)
                    seconds.append(found["seconds"])
                    results.add(round(found["mrr"], 9))
            assert len(results) == 1, f"{name}: the two sides compute different things: {results}"
            old, new = (statistics.median(seconds) for seconds in sides.values())
            table.add_row(name, f"{old:.2f}", f"{new:.2f}", f"{old / new:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
