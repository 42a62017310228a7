"""A study on a million pairs, by the last release and by this code: memory, the first epoch, the pace.

1,000,000 pairs of 384 + 384 numbers in a folder of ``.npy`` files, split as the product splits them (600,000 rows to
train on, 200,000 for validation); infonce with an encoder of one layer of 256, batch 1,024. Two slots train a trial of
so many epochs each. While ``losstune launch`` runs, the memory of all its processes is read twice a second, as in
``large_data.py``; when an epoch was told stands in the history files.

    python benchmarks/million_rows.py [--rows 1000000] [--epochs 4] [--sides before now]

Prints a table and one line of JSON. Needs 3 GB in the temporary folder. The last release ranks all validation rows
among all: its epoch takes a quarter of an hour and more, so it trains one.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from earlier import COMMAND, LAST_RELEASE, ROOT, installed, python_of
from large_data import watched
from rich.console import Console
from rich.table import Table

WIDTH = 384
SLOTS = 2
SPACE = """
loss_fn: infonce
space: {lr: {low: 1.0e-4, high: 1.0e-2, log: true}}
fixed: {batch_size: 1024, model.hidden_dim: 256, model.depth: 1}
"""


@dataclass(frozen=True)
class Run:
    """One study: seconds from its start to its first epoch, epochs a minute, start included, bytes, and its seconds.

    Attributes:
        allocated: the peak over time of what all processes together allocated.
        shared: the same of Ray's shared memory.
    """

    first_epoch: float
    epochs_a_minute: float
    allocated: int
    shared: int
    seconds: float


def make_pairs(folder: Path, rows: int) -> None:
    """Write pairs of which the targets follow from the inputs."""
    folder.mkdir()
    random = np.random.default_rng(0)
    turn = random.standard_normal((WIDTH, WIDTH), dtype=np.float32) / WIDTH**0.5
    inputs, targets = (
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, WIDTH))
        for name in ("inputs", "targets")
    )
    for start in range(0, rows, 10_000):
        part = inputs[start : start + 10_000]
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
        targets[start : start + 10_000] = np.tanh(part @ turn)


def study(packages: Path, pairs: Path, epochs: int, folder: Path) -> Run:
    """Launch, and watch."""
    (folder / "own.yaml").write_text(SPACE)
    asked = ["launch", "own.yaml", "--data", str(pairs), "--study", "million", "--trials", str(SLOTS)]
    asked += ["--max-epochs", str(epochs), "--grace-epochs", str(epochs), "--concurrency", str(SLOTS)]
    command, environment = python_of(packages, "-c", COMMAND, *asked, "--storage", str(folder))
    began = time.time()
    peaks = watched(command, folder, environment)
    files = folder.glob("studies/million/trials/*/history.jsonl")
    told = sorted(json.loads(line)["time"] - began for file in files for line in file.read_text().splitlines())
    return Run(told[0], 60 * len(told) / told[-1], peaks.allocated, peaks.shared, time.time() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=4, help="of each trial, on this side")
    parser.add_argument("--sides", nargs="+", choices=("before", "now"), default=["before", "now"])
    given = parser.parse_args()
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as data, installed(LAST_RELEASE) as before:
        make_pairs(Path(data) / "pairs", given.rows)
        for side in given.sides:
            packages, epochs = (before, 1) if side == "before" else (ROOT, given.epochs)
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                runs[side] = study(packages, Path(data) / "pairs", epochs, Path(folder))
    table = Table("", "first epoch, s", "epochs a minute, start included", "allocated, MB", "shared, MB")
    for side, run in runs.items():
        sizes = (f"{run.allocated / 1e6:,.0f}", f"{run.shared / 1e6:,.0f}")
        table.add_row(side, f"{run.first_epoch:.0f}", f"{run.epochs_a_minute:.2f}", *sizes)
    Console().print(table)
    print(json.dumps({side: asdict(run) for side, run in runs.items()}))


if __name__ == "__main__":
    main()
