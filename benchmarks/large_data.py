"""Memory of a whole study on data that stay on disk, beside the size of the data.

Random pairs of 512 + 512 numbers, half inputs, half targets, with 1 % for validation and 1 % for test; two slots, two
trials of two epochs. While ``losstune launch`` runs, the memory of all its processes together is read twice a second:
what they allocated (private pages that no file stands behind), and Ray's shared memory. Pages of the mapped files are
not in it: the system keeps them while it has room, and gives them to whoever asks.

The same study on a hundredth of the rows, first, shows what the processes take whatever the data.

    python benchmarks/large_data.py --gigabytes 4

Prints a table and one line of JSON; ``--json``: the JSON only. Needs twice that space in the temporary folder for a
moment, and removes all.
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
from typing import NamedTuple

import numpy as np
import psutil

WIDTH = 512
SLOTS = 2
SPACE = """
loss_fn: cosine
space: {lr: {low: 1.0e-4, high: 1.0e-2, log: true}}
fixed: {batch_size: 1024, model.hidden_dim: 64, model.depth: 1}
"""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Peaks(NamedTuple):
    """The most bytes at a time: allocated and shared by all processes together, and allocated by one."""

    allocated: int
    shared: int
    largest_process: int


@dataclass(frozen=True)
class Run:
    """One study: its data in bytes, its peaks of memory in bytes over all processes, and its seconds."""

    data: int
    allocated: int
    shared: int
    largest_process: int
    seconds: float


def make_pairs(folder: Path, rows: int) -> int:
    """Write random pairs; returns their bytes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("inputs", "targets"):
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, WIDTH))
        for part in np.array_split(array, 1 + rows // 10_000):
            part[:] = rng.random(part.shape, dtype=np.float32)
        array.flush()
    hundredth = np.arange(rows) % 100
    np.save(folder / "split.npy", np.select([hundredth == 98, hundredth == 99], [1, 2]))
    return sum(file.stat().st_size for file in folder.iterdir())


def study(folder: Path, rows: int) -> Run:
    """Launch on so many rows, and watch."""
    data = make_pairs(folder / "pairs", rows)
    (folder / "own.yaml").write_text(SPACE)
    command = [str(Path(sys.executable).with_name("losstune")), "launch", "own.yaml", "--data", "pairs"]
    command += ["--study", "large", "--trials", "2", "--max-epochs", "2", "--grace-epochs", "2"]
    command += ["--concurrency", str(SLOTS), "--storage", str(folder)]
    began = time.perf_counter()
    peaks = watched(command, folder, dict(os.environ))
    return Run(data, *peaks, time.perf_counter() - began)


def watched(command: list[str], folder: Path, environment: dict[str, str]) -> Peaks:
    """Run ``losstune launch`` in a folder, and read the memory of all its processes twice a second."""
    allocated = shared = largest = 0
    with subprocess.Popen(command, cwd=folder, env=environment | QUIET, stdout=subprocess.DEVNULL) as launch:
        while launch.poll() is None:
            found = [memory(process) for process in tree(launch.pid)]
            allocated = max(allocated, sum(own for own, _ in found))
            shared = max(shared, sum(common for _, common in found))
            largest = max(largest, *(own for own, _ in found), 0)
            time.sleep(0.5)
    if launch.returncode:
        sys.exit(f"losstune launch: exit code {launch.returncode}")
    return Peaks(allocated, shared, largest)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; those that end meanwhile are left out."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process: psutil.Process) -> tuple[int, int]:
    """Allocated and shared bytes of a process, each page divided by the processes that have it."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return 0, 0
    size = {name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return size.get("Pss_Anon", 0), size.get("Pss_Shmem", 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Memory of a study on data that stay on disk.")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the pairs, 10^9 bytes")
    parser.add_argument("--json", action="store_true", help="print the JSON only")
    options = parser.parse_args()
    rows = int(options.gigabytes * 1e9) // (2 * 4 * WIDTH)
    runs: dict[str, Run] = {}
    for name, count in (("a hundredth", rows // 100), ("all", rows)):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            runs[name] = study(Path(folder), count)
    if not options.json:
        print(f"{'rows':<13}{'data, MB':>10}{'allocated':>11}{'shared':>9}{'largest process':>17}{'seconds':>9}")
        for name, run in runs.items():
            sizes = f"{run.data / 1e6:>10,.0f}{run.allocated / 1e6:>11,.0f}{run.shared / 1e6:>9,.0f}"
            print(f"{name:<13}{sizes}{run.largest_process / 1e6:>17,.0f}{run.seconds:>9.0f}")
    more = runs["all"].allocated - runs["a hundredth"].allocated
    print(json.dumps({**{name: asdict(run) for name, run in runs.items()}, "more_for_all_rows": more}))


if __name__ == "__main__":
    main()
