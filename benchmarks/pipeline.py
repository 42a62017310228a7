"""The whole product against the stock recipe of Ray's documentation: epochs trained per second of wall time.

The sides alternate, each run a process of its own on fresh folders, with two trials at a time on one CPU each, the same
search space (``infonce_space.yaml``), data (digits), budget per trial (27 epochs, rungs at 3 and 9) and metrics logged:

* ``losstune launch``, 64 trials; epochs and the time inside them come from the study's history files.
* ``stock_recipe.py``, 16 trials; it counts them itself. Fewer, because it is slow; its start-up is then a larger part,
  so ``--stock-trials 64`` is the even comparison for who has the time.

Wall time is the process from start to exit: imports, Ray, MLflow, everything. The share of training is the time inside
training and evaluation, summed over trials, out of two slots' wall time.

    python benchmarks/pipeline.py --runs 3 --trials 64 --stock-trials 16

Prints a table and one line of JSON; ``--json``: the JSON only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
SLOTS = 2
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass(frozen=True)
class Run:
    """One process: what it trained, and how long it took."""

    side: str
    seed: int
    trials: int
    epochs: int
    seconds: float
    training_seconds: float

    @property
    def epochs_per_second(self) -> float:
        """Epochs per second of wall time."""
        return self.epochs / self.seconds

    @property
    def training_share(self) -> float:
        """Share of the slots' wall time that was spent in training and evaluation, in [0, 1]."""
        return self.training_seconds / (SLOTS * self.seconds)


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command in a folder: its wall seconds and its output; on failure, the end of what it said."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | QUIET, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return seconds, done.stdout


def run_losstune(seed: int, trials: int, folder: Path) -> Run:
    """One study with the product."""
    study = f"bench-{seed}"
    command = [str(Path(sys.executable).with_name("losstune")), "launch", str(HERE / "infonce_space.yaml")]
    command += ["--data", "digits", "--study", study, "--trials", str(trials), "--concurrency", str(SLOTS)]
    command += ["--seed", str(seed), "--storage", str(folder)]
    seconds, _ = timed(command, folder)
    files = sorted((folder / "studies" / study / "trials").glob("*/history.jsonl"))
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return Run("losstune", seed, len(files), len(records), seconds, sum(record["seconds"] for record in records))


def run_stock(seed: int, trials: int, folder: Path) -> Run:
    """One study with the stock recipe."""
    command = [sys.executable, str(HERE / "stock_recipe.py"), "--trials", str(trials), "--dir", str(folder)]
    seconds, output = timed([*command, "--seed", str(seed)], folder)
    said = json.loads(output.splitlines()[-1])
    return Run("stock", seed, said["trials"], said["epochs"], seconds, said["training_seconds"])


def measure(runs: int, trials: int, stock_trials: int) -> list[Run]:
    """Alternate the sides, so that a slow spell of the machine meets both."""
    result: list[Run] = []
    for seed in range(runs):
        for side, count in ((run_losstune, trials), (run_stock, stock_trials)):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                result.append(side(seed, count, Path(folder)))
            print(f"{result[-1].side} {seed}: {result[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    return result


def summarise(runs: list[Run]) -> dict[str, Any]:
    """Every run, the medians of both sides and their ratio."""
    medians: dict[str, dict[str, float]] = {}
    for side in ("losstune", "stock"):
        own = [run for run in runs if run.side == side]
        medians[side] = {
            "epochs_per_second": median(run.epochs_per_second for run in own),
            "training_share": median(run.training_share for run in own),
        }
    ratio = medians["losstune"]["epochs_per_second"] / medians["stock"]["epochs_per_second"]
    derived = [{"epochs_per_second": run.epochs_per_second, "training_share": run.training_share} for run in runs]
    every = [asdict(run) | more for run, more in zip(runs, derived, strict=True)]
    return {"runs": every, "medians": medians, "ratio": ratio, "slots": SLOTS, "cpus": os.cpu_count()}


def print_table(runs: list[Run], summary: dict[str, Any]) -> None:
    """The runs and medians, for people."""
    print(f"{'side':<10}{'seed':>6}{'trials':>8}{'epochs':>8}{'seconds':>9}{'epochs/s':>10}{'training':>10}")
    for run in runs:
        counts = f"{run.side:<10}{run.seed:>6}{run.trials:>8}{run.epochs:>8}{run.seconds:>9.1f}"
        print(f"{counts}{run.epochs_per_second:>10.2f}{run.training_share:>10.1%}")
    for side, row in summary["medians"].items():
        print(f"{side + ', median':<41}{row['epochs_per_second']:>10.2f}{row['training_share']:>10.1%}")
    print(f"{'ratio of medians':<41}{summary['ratio']:>10.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="losstune against the stock recipe: epochs per second of wall time.")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    parser.add_argument("--trials", type=int, default=64, help="trials of a losstune run")
    parser.add_argument("--stock-trials", type=int, default=16, help="trials of a stock run")
    parser.add_argument("--json", action="store_true", help="print the JSON only")
    options = parser.parse_args()
    runs = measure(options.runs, options.trials, options.stock_trials)
    summary = summarise(runs)
    if not options.json:
        print_table(runs, summary)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
