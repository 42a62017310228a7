"""Seconds from Enter until a study has found what the stock recipe has found after 64 trials.

Three sides, each run a process of its own on fresh folders, two trials at a time, in the space of
``infonce_space.yaml``: the stock recipe of Ray's documentation (``stock_recipe.py``), the last release, this code.
The product is given 192 trials, which take it a fraction of the stock recipe's time. At any time a study has an
incumbent: the model with the best validation MRR so far. What it is worth is its MRR on the test rows, which no study
sees; for that its training is repeated afterwards, off the clock. What the stock recipe has in the end is the median of
its runs, and a side's time is when an incumbent first has as much.

    python benchmarks/time_to_quality.py --data digits pairs.npz --runs FOLDER --plot docs/time_to_quality.svg

The sides take turns. A run is kept in FOLDER as soon as it is over, and an interrupted benchmark goes on from there.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
import yaml
from dataloader_loop import splits, training_epochs
from earlier import COMMAND, LAST_RELEASE, ROOT, installed, python_of
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
TRIALS = {"stock": 64, "before": 192, "now": 192}
SLOTS = 2
SIDES = ("stock", "before", "now")
SHOWN_SECONDS = (10, 15, 20, 30, 45, 60, 120, 240, 480)
SHOWN_TRAININGS = (2, 5, 10, 20)
LONGEST = 27  # epochs of a full training
NEAR = 0.99  # of what the stock recipe has: what is left is mostly luck
FIRST_SHOWN = 5.0  # seconds; nobody has anything before
COLORS = {"stock": "#888888", "before": "#d95f02", "now": "#1b9e77"}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Epoch(NamedTuple):
    """One epoch of one trial: when it was told, and its validation MRR."""

    seconds: float
    value: float
    trial: str
    epoch: int


class Incumbent(NamedTuple):
    """The best so far: seconds since the start, epochs of all trials told by then, MRR on the test rows."""

    seconds: float
    epochs: int
    value: float


@dataclass(frozen=True)
class Run:
    """One study: its incumbents, its whole time and its epochs."""

    side: str
    data: str
    seed: int
    seconds: float
    epochs: int
    incumbents: list[Incumbent]

    def quality_at(self, seconds: float) -> float:
        """Test MRR of the incumbent at a time; 0 before there is one."""
        return next((found.value for found in reversed(self.incumbents) if found.seconds <= seconds), 0.0)

    def quality_after(self, epochs: int) -> float:
        """Test MRR of the incumbent when so many epochs were told; 0 before there is one."""
        return next((found.value for found in reversed(self.incumbents) if found.epochs <= epochs), 0.0)

    def reaches(self, quality: float) -> float:
        """Seconds until an incumbent has so much; infinity if none has."""
        return next((found.seconds for found in self.incumbents if found.value >= quality), math.inf)


def incumbents(epochs: Sequence[Epoch]) -> list[tuple[int, Epoch]]:
    """Those that were better than all that was told before them, each with its place in what was told, from 1."""
    found: list[tuple[int, Epoch]] = []
    for told, epoch in enumerate(sorted(epochs), start=1):
        if not found or epoch.value > found[-1][1].value:
            found.append((told, epoch))
    return found


def run_losstune(side: str, sources: Path, data: str, seed: int, folder: Path) -> Run:
    """One study with the product, of one release or the other."""
    arguments = ["launch", str(HERE / "infonce_space.yaml"), "--data", data, "--study", "bench", "--seed", str(seed)]
    arguments += ["--trials", str(TRIALS[side]), "--concurrency", str(SLOTS), "--storage", str(folder)]
    command, environment = python_of(sources, "-c", COMMAND, *arguments)
    began, seconds = timed(command, folder, environment)
    trials = folder / "studies" / "bench" / "trials"
    epochs = [
        Epoch(record["time"] - began, record["val/mrr"], file.parent.name, record["epoch"])
        for file in trials.glob("*/history.jsonl")
        for record in map(json.loads, file.read_text().splitlines())
        if "val/mrr" in record
    ]
    best = incumbents(epochs)
    lengths = {found.trial: found.epoch for _, found in best}  # epochs rise: the last one is the highest
    wanted = [[flat_config(trials / trial / "config.yaml"), length] for trial, length in lengths.items()]
    command, environment = python_of(sources, str(HERE / "replay.py"))
    done = subprocess.run(
        command, env=environment, input=json.dumps(wanted), capture_output=True, text=True, check=True
    )
    curves = dict(zip(lengths, json.loads(done.stdout), strict=True))
    worth = [Incumbent(found.seconds, told, curves[found.trial][found.epoch - 1]) for told, found in best]
    return Run(side, data, seed, seconds, len(epochs), worth)


def flat_config(file: Path) -> dict[str, Any]:
    """A trial's settings by flat name."""
    found = yaml.safe_load(file.read_text())
    model = {f"model.{name}": value for name, value in found.pop("model").items()}
    return {**found, **model}


def run_stock(data: str, seed: int, folder: Path) -> Run:
    """One study with the stock recipe."""
    command = [sys.executable, str(HERE / "stock_recipe.py"), "--trials", str(TRIALS["stock"]), "--dir", str(folder)]
    began, seconds = timed([*command, "--data", data, "--seed", str(seed)], folder, dict(os.environ))
    results = {file.parent.name: file.read_text().splitlines() for file in folder.glob("ray/stock/*/result.json")}
    records = {trial: [json.loads(line) for line in lines] for trial, lines in results.items()}
    epochs = [
        Epoch(record["time"] - began, record["val/mrr"], trial, record["training_iteration"])
        for trial, own in records.items()
        for record in own
    ]
    best = incumbents(epochs)
    lengths = {found.trial: found.epoch for _, found in best}
    curves = {trial: stock_curve(records[trial][0]["config"], data, seed, n) for trial, n in lengths.items()}
    worth = [Incumbent(found.seconds, told, curves[found.trial][found.epoch - 1]) for told, found in best]
    return Run("stock", data, seed, seconds, len(epochs), worth)


def stock_curve(config: dict[str, Any], data: str, seed: int, epochs: int) -> list[float]:
    """Test MRR after each epoch of one of its trials, trained again with the test rows to evaluate on."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train, _, test = splits(data)
    again = training_epochs(config, train, test)
    return [next(again)["val/mrr"] for _ in range(epochs)]


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command in a folder: the time at its start, and its wall seconds."""
    began = time.time()
    done = subprocess.run(command, cwd=folder, env=environment | QUIET, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return began, time.time() - began


def measure(data: Sequence[str], seeds: int, stock_seeds: int, kept: Path) -> Iterator[Run]:
    """Every run, from its file if it has one."""
    kept.mkdir(parents=True, exist_ok=True)
    with installed(LAST_RELEASE) as before:
        for name in data:
            for seed in range(max(seeds, stock_seeds)):
                sides: dict[str, Callable[[Path], Run]] = {
                    "before": lambda folder: run_losstune("before", before, name, seed, folder),  # noqa: B023
                    "now": lambda folder: run_losstune("now", ROOT, name, seed, folder),  # noqa: B023
                    "stock": lambda folder: run_stock(name, seed, folder),  # noqa: B023
                }
                for side, run in sides.items():
                    if seed < (stock_seeds if side == "stock" else seeds):
                        yield kept_run(kept / f"{Path(name).stem}-{side}-{seed}.json", run)


def kept_run(file: Path, run: Callable[[Path], Run]) -> Run:
    """A run as its file has it, else run now, in an empty folder, and kept."""
    if not file.exists():
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            found = run(Path(folder))
        draft = file.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(found)))
        draft.replace(file)
    kept = json.loads(file.read_text())
    kept["incumbents"] = [Incumbent(*own) for own in kept["incumbents"]]
    run_ = Run(**kept)
    print(f"{file.stem}: {run_.seconds:.0f} s, test MRR {run_.incumbents[-1].value:.3f}", file=sys.stderr, flush=True)
    return run_


def summary(data: str, runs: Sequence[Run]) -> Table:
    """Of one data set: quality against time, the time to the stock recipe's, and how many times as fast that is."""
    own = {side: [run for run in runs if (run.side, run.data) == (side, data)] for side in SIDES}
    target = median(run.incumbents[-1].value for run in own["stock"])
    stock = median(run.reaches(run.incumbents[-1].value) for run in own["stock"])
    table = Table(
        Path(data).stem, *SIDES, title=f"Test MRR of the incumbent, medians; {target:.3f} is what stock has in the end"
    )
    for at in SHOWN_SECONDS:
        table.add_row(f"{at} s", *(f"{median(run.quality_at(at) for run in own[side]):.3f}" for side in SIDES))
    table.add_section()
    for trainings in SHOWN_TRAININGS:
        after = {side: [run.quality_after(trainings * LONGEST) for run in own[side]] for side in SIDES}
        table.add_row(f"{trainings} full trainings, mean", *map(mean_text, after.values()))
    reached = {side: median(run.reaches(target) for run in own[side]) for side in SIDES[1:]}
    table.add_section()
    table.add_row("seconds to it", f"{stock:.0f}", *map(seconds_text, reached.values()))
    table.add_row(
        "times as fast", "1", *(f"{stock / seconds:.2g}" if stock / seconds else "" for seconds in reached.values())
    )
    near = [median(run.reaches(NEAR * target) for run in own[side]) for side in SIDES]
    table.add_row(f"seconds to {NEAR:.0%} of it", *map(seconds_text, near))
    pace = {side: median(run.epochs / run.seconds for run in own[side]) for side in SIDES}
    table.add_row("epochs a second", *(f"{epochs:.1f}" for epochs in pace.values()))
    table.add_row("runs", *(str(len(own[side])) for side in SIDES))
    return table


def seconds_text(seconds: float) -> str:
    """Seconds, or that it was never."""
    return "never" if math.isinf(seconds) else f"{seconds:.1f}"


def mean_text(values: Sequence[float]) -> str:
    """Their mean with its standard error, where there are two or more."""
    error = f" ±{stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{error}"


def plot(data: Sequence[str], runs: Sequence[Run], file: Path) -> None:
    """Quality of the incumbent against time, a panel a data set: a thin line a run, a thick one for the median."""
    plt.rcParams["svg.hashsalt"] = "losstune"  # the same runs, the same file
    figure, panels = plt.subplots(1, len(data), figsize=(4.5 * len(data), 3.4), layout="constrained", squeeze=False)
    for name, panel in zip(data, panels[0], strict=True):
        for side in SIDES:
            own = [run for run in runs if (run.side, run.data) == (side, name)]
            last = max(run.seconds for run in own)
            times = [last**part * FIRST_SHOWN ** (1 - part) for part in (step / 200 for step in range(201))]
            for run in own:
                panel.plot(
                    times, [run.quality_at(at) or math.nan for at in times], color=COLORS[side], lw=0.5, alpha=0.4
                )
            middle = [median(run.quality_at(at) for run in own) or math.nan for at in times]
            panel.plot(times, middle, color=COLORS[side], lw=2, label=side)
        panel.set(xscale="log", title=Path(name).stem, xlabel="seconds since the start", ylabel="test MRR in hand")
        panel.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=ScalarFormatter())
        panel.xaxis.set_minor_locator(NullLocator())
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits"], help="digits, or files of pairs")
    parser.add_argument("--seeds", type=int, default=10, help="runs of losstune, before and now, on each data set")
    parser.add_argument("--stock-seeds", type=int, default=5, help="runs of the stock recipe, of some eight minutes")
    parser.add_argument("--runs", type=Path, default=Path("time_to_quality"), help="where finished runs are kept")
    parser.add_argument("--plot", type=Path, help="a file for the curves, .svg or .png")
    given = parser.parse_args()
    data = [name if name == "digits" else str(Path(name).resolve()) for name in given.data]
    runs = list(measure(data, given.seeds, given.stock_seeds, given.runs))
    for name in data:
        Console().print(summary(name, runs))
    if given.plot:
        plot(data, runs, given.plot)


if __name__ == "__main__":
    main()
