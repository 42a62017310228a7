"""From Enter to the first epoch: a launch's and a confirmation's start as a timeline, beside an earlier commit's.

    python benchmarks/start.py [--commit efdaf69] [--rounds 5] [--confirm]

Starts both sides in turn, on digits with two slots. Times come from what a
study leaves, and from a ``sitecustomize`` that each process of a launch finds on ``PYTHONPATH``: it says when the
process began, when some libraries were loaded there, and when Ray's own processes were started. Prints medians in
seconds since Enter, and the ratio of the first epoch's.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from earlier import COMMAND, LAST_RELEASE, ROOT, installed, python_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

LEFT_IN = "LOSSTUNE_BENCHMARK_MARKS"
MARKS = """
import importlib.util, os, sys, time

WATCHED = {"torch", "ray", "ray.tune", "optuna", "mlflow"}
WHO = next((who for sign, who in (("default_worker.py", "worker"), ("sync", "tracker"), ("losstune", "launch"))
            if any(sign in word for word in sys.orig_argv)), "other")

def mark(what):
    with open(os.path.join(os.environ["LOSSTUNE_BENCHMARK_MARKS"], str(os.getpid())), "a") as file:
        file.write(f"{time.time()} {WHO}: {what}\\n")

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name not in WATCHED:
            return None
        WATCHED.discard(name)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            def exec_module(module):
                mark(f"{name} begun")
                execute(module)
                mark(f"{name} loaded")
            spec.loader.exec_module = exec_module
        return spec

def heard(event, arguments):
    if event == "subprocess.Popen":
        for name in ("gcs_server", "raylet"):
            if str(arguments[0]).endswith("/" + name):
                mark(f"{name} started")

if WHO != "other":
    mark("began")
    sys.meta_path.insert(0, Watch())
    sys.addaudithook(heard)
"""
"""A ``sitecustomize`` that leaves lines of time and event, a file for each process."""

FIRST_EPOCH = "first epoch told"
ROWS = {
    "losstune begun": ("launch: began", min),
    "study written": ("study", min),
    "Ray's first process started": ("launch: gcs_server started", min),
    "its last one": ("launch: raylet started", min),
    "Ray Tune loaded": ("launch: ray.tune loaded", min),
    "tracker started": ("tracker: began", min),
    "tracker has MLflow": ("tracker: mlflow loaded", min),
    "first worker started": ("worker: began", min),
    "first worker has torch": ("worker: torch loaded", min),
    "first proposal": ("proposed", min),
    "first epoch begun": ("epoch begun", min),
    FIRST_EPOCH: ("epoch told", min),
    "losstune ended": ("ended", min),
}
"""What is told: by name, the event, and which of several."""


def start(words: list[str], sources: Path, folder: Path, marks: Path, sub: str) -> dict[str, float]:
    """Run a command on the sources in a folder; seconds from Enter to each row that it has."""
    left = Path(tempfile.mkdtemp(dir=marks))
    (left / "sitecustomize.py").write_text(MARKS)
    (left / "marks").mkdir()
    command, environment = python_of(sources, "-c", COMMAND, *words)
    environment["PYTHONPATH"] = f"{left}{os.pathsep}{environment['PYTHONPATH']}"
    environment |= {LEFT_IN: str(left / "marks"), "RAY_USAGE_STATS_ENABLED": "0"}
    began = time.time()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    events = [("ended", ended), *left_by_processes(left / "marks"), *left_by_study(folder / "studies" / "s", sub)]
    found = {}
    for row, (event, which) in ROWS.items():
        times = [at for name, at in events if name == event and at >= began]
        if times:
            found[row] = which(times) - began
    return found


def left_by_processes(folder: Path) -> Iterable[tuple[str, float]]:
    """Events and their times, as all processes have left them."""
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            at, _, event = line.partition(" ")
            yield event, float(at)


def left_by_study(folder: Path, sub: str) -> Iterable[tuple[str, float]]:
    """When a study was written, its trials proposed, their epochs begun and told."""
    yield "study", (folder / "study.yaml").stat().st_mtime
    with sqlite3.connect(f"file:{folder / 'optuna.db'}?mode=ro", uri=True) as database:
        for (at,) in database.execute("SELECT datetime_start FROM trials"):
            yield "proposed", datetime.fromisoformat(at).timestamp()
    for file in (folder / sub).rglob("history.jsonl"):
        for line in file.read_text().splitlines():
            record = json.loads(line.partition("\t")[0])
            yield "epoch begun", record["time"] - record["seconds"]
            yield "epoch told", record["time"]


def both(sources: Path, marks: Path, confirm: bool) -> dict[str, dict[str, float]]:
    """One launch on the sources in a folder, and one confirmation of it if that is asked for."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        launch = ["launch", "infonce", "--data", "digits", "--study", "s", "--trials", "2", "--max-epochs", "3"]
        found = {"launch": start([*launch, "--concurrency", "2"], sources, folder, marks, "trials")}
        if confirm:
            words = ["confirm", "s", "--top", "1", "--seeds", "2", "--concurrency", "2"]
            found["confirm"] = start(words, sources, folder, marks, "confirm")
    return found


def main() -> None:
    """Start both sides and print the timelines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default=LAST_RELEASE, help="the earlier code; '' for none")
    parser.add_argument("--rounds", type=int, default=5, help="starts of each side")
    parser.add_argument("--confirm", action="store_true", help="confirmations too")
    given = parser.parse_args()
    with ExitStack() as stack:
        sides = {"now": ROOT}
        if given.commit:
            sides = {"before": stack.enter_context(installed(given.commit)), **sides}
        marks = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marks-")))
        starts: dict[str, list[dict[str, dict[str, float]]]] = {side: [] for side in sides}
        for _ in track(range(given.rounds), "starts", console=Console(stderr=True)):
            for side, sources in sides.items():
                starts[side].append(both(sources, marks, given.confirm))
    for command in ("launch", "confirm") if given.confirm else ("launch",):
        show(command, {side: [run[command] for run in runs] for side, runs in starts.items()})


def show(command: str, starts: dict[str, list[dict[str, float]]]) -> None:
    """The medians of a command, side by side."""
    table = Table(f"{command}, seconds since Enter", *starts, title_justify="left")
    medians = {
        side: {row: statistics.median(run[row] for run in runs) for row in ROWS if all(row in run for run in runs)}
        for side, runs in starts.items()
    }
    for row in ROWS:
        if any(row in found for found in medians.values()):
            table.add_row(row, *(f"{found[row]:.2f}" if row in found else "" for found in medians.values()))
    Console().print(table)
    if "before" in medians:
        print(f"{command}: {FIRST_EPOCH}: {medians['now'][FIRST_EPOCH] / medians['before'][FIRST_EPOCH]:.2f} of before")


if __name__ == "__main__":
    main()
