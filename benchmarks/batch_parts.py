"""Memory and time of a large batch that passes through the model in parts, beside the same batch as a whole.

Random pairs of 64 → 64 numbers, an encoder of 32 layers of 512 units, InfoNCE, batches of 4,096 rows as a whole, in 8
and in 32 parts, and batches of 128 rows for comparison. Each of four processes trains two epochs, and scores as many
rows at once as a part has.

- memory: the highest resident memory of the process, less what it held after it had trained a tiny model.
- CPU: seconds of CPU of the two epochs.

    python benchmarks/batch_parts.py              # about five minutes on one core
    python benchmarks/batch_parts.py --tiny       # in seconds: shows that it runs

Prints a table and one line of JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np

import losstune as lt

RUNS = ("1", "8", "32", "one part")
WIDTH = 64


@dataclass(frozen=True)
class Size:
    """What is trained: rows of a batch, units of a layer, layers, batches of an epoch."""

    batch: int
    units: int
    layers: int
    batches: int


LARGE = Size(batch=4096, units=512, layers=32, batches=4)
TINY = Size(batch=1024, units=64, layers=2, batches=4)


def peak_bytes() -> int:
    """The highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train(size: Size, batch: int, parts: int) -> None:
    """Two epochs on random pairs."""
    rng = np.random.default_rng(0)
    # The training split has 0.6 of the rows. The validation split's fifth has to hold a batch as well.
    rows = max(round(size.batch * size.batches / 0.6) + 10, 5 * size.batch + 10)
    pairs = {name: rng.standard_normal((rows, WIDTH), dtype=np.float32) for name in ("inputs", "targets")}
    settings = {"model.hidden_dim": size.units, "model.depth": size.layers, "loss_fn": "infonce", "num_epochs": 2}
    bounds = {"batch_size": batch, "batch_parts": parts, "eval_batch": batch // parts}
    with tempfile.TemporaryDirectory() as folder:
        lt.train(settings | bounds, pairs, output_dir=folder, quiet=True, threads=1, device="cpu")


def trained(size: Size, run: str) -> dict[str, float]:
    """Train in this process; returns bytes above those held before, and seconds of CPU."""
    train(TINY, TINY.batch, 8)  # loads what training needs
    batch, parts = (size.batch // 32, 1) if run == "one part" else (size.batch, int(run))
    held, began = peak_bytes(), time.process_time()
    train(size, batch, parts)
    return {"bytes": peak_bytes() - held, "cpu": time.process_time() - began}


def measured(run: str, *, tiny: bool) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--run", run, *(["--tiny"] if tiny else [])]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Train with each number of parts in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small batches and layers")
    parser.add_argument("--run", choices=RUNS, help="train so in this process, and print its figures")
    arguments = parser.parse_args()
    size = TINY if arguments.tiny else LARGE
    if arguments.run is not None:
        print(json.dumps(trained(size, arguments.run)))
        return
    figures = {run: measured(run, tiny=arguments.tiny) for run in RUNS}
    print(f"{'parts':<8} {'memory':>9} {'CPU':>8}   of the whole: CPU")
    for run, told in figures.items():
        cpu = told["cpu"] / figures["1"]["cpu"]
        print(f"{run:<8} {told['bytes'] / 2**20:>6.0f} MB {told['cpu']:>6.1f} s {cpu:>19.2f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
