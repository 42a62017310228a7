"""What a trial costs the driver where training costs nothing: time, and memory that is not given back.

A whole ``losstune launch`` with its own Ray, SQLite and MLflow, the default search over ``infonce_space.yaml``, two
slots; only the trainer is replaced by one that answers at once. Each number of trials is a process of its own on a
fresh folder.

* CPU and wall time of the driver, from the first trial that is asked for to the last that is told, over trials.
* Resident memory of the driver before and after, and what each further trial added: the difference to the row above.
* The time of a proposal, the median of the last twenty: what it costs with so many trials told.

    python benchmarks/driver_cost.py --trials 100 500 2000 4000

Prints a table and one line of JSON; ``--json``: the JSON only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ray import tune
from rich.console import Console

import losstune.tuning.execute.worker
from losstune.tuning.commands.launch import LaunchRequest, launch
from losstune.tuning.execute import search_tasks
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution, Session
from losstune.tuning.search.proposals import propose
from losstune.tuning.storage.home import Home
from losstune.tuning.study.messages import Report

HERE = Path(__file__).resolve().parent
SLOTS = 2


class NoWork(tune.Trainable):
    """Ends each trial with its first report, with a value that depends on the setting."""

    def setup(self, config: dict[str, Any], **shared: Any) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._task = new_config["task"]
        return True

    def step(self) -> dict[str, Any]:
        task, value = self._task, 1 / (1 + self._task.settings["lr"])
        return Report(task.loss, task.number, 1, value, 1, "epochs", "", task.passed, 0.0).to_result()


def resident() -> int:
    """Bytes of this process that are in memory."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def measure(trials: int, folder: Path) -> dict[str, float]:
    """One study in this process."""
    found: dict[str, float] = {}
    run = Session.run
    proposals: list[float] = []

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        point = propose(*arguments)
        proposals.append(time.perf_counter() - began)
        return point

    def metered(self: Session, *arguments: Any, **more: Any) -> None:
        before, cpu, began = resident(), time.process_time(), time.perf_counter()
        run(self, *arguments, **more)
        found.update(
            trials=trials,
            cpu_ms=1000 * (time.process_time() - cpu) / trials,
            wall_ms=1000 * (time.perf_counter() - began) / trials,
            before_mib=before / 2**20,
            after_mib=resident() / 2**20,
            proposal_ms=1000 * median(proposals[-20:]),
        )

    search_tasks.propose = timed  # type: ignore[attr-defined,assignment]
    losstune.tuning.execute.worker.TrialTrainable = NoWork  # type: ignore[assignment,misc]
    Session.run = metered  # type: ignore[method-assign]
    options = {"trials": trials, "max_epochs": 1, "grace_epochs": 1}
    space = str(HERE / "infonce_space.yaml")
    execution = Execution(Resources(SLOTS, 1, 0.0))
    request = LaunchRequest([space], "digits", "bench", Home(folder), execution, options)
    launch(request, Console(quiet=True))
    return found


def each(counts: list[int]) -> list[dict[str, float]]:
    """One process for each number of trials."""
    rows = []
    for trials in counts:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            command = [sys.executable, __file__, "--one", str(trials), "--folder", folder]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"{trials} trials: {rows[-1]['wall_ms'] * trials / 1000:.0f} s", file=sys.stderr, flush=True)
    return rows


def growth(rows: list[dict[str, float]]) -> list[float | None]:
    """KiB that each trial added, from one row to the next."""
    added = [
        1024 * (b["after_mib"] - b["before_mib"] - a["after_mib"] + a["before_mib"]) / (b["trials"] - a["trials"])
        for a, b in pairwise(rows)
    ]
    return [None, *added]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a trial of no work costs the driver.")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 500, 4000])
    parser.add_argument("--json", action="store_true", help="print the JSON only")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder)))
        return
    rows = each(options.trials)
    added = growth(rows)
    if not options.json:
        heads = f"{'trials':>7}{'CPU ms':>9}{'wall ms':>9}{'MiB before':>12}{'MiB after':>11}{'KiB a trial more':>18}"
        print(f"{heads}{'proposal ms':>13}")
        for row, more in zip(rows, added, strict=True):
            times = f"{row['trials']:>7.0f}{row['cpu_ms']:>9.1f}{row['wall_ms']:>9.1f}"
            memory = f"{row['before_mib']:>12.1f}{row['after_mib']:>11.1f}{'' if more is None else f'{more:.1f}':>18}"
            print(f"{times}{memory}{row['proposal_ms']:>13.1f}")
    print(json.dumps({"rows": rows, "kib_per_further_trial": added, "slots": SLOTS}))


if __name__ == "__main__":
    main()
