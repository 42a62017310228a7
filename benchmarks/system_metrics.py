"""What it costs to measure each epoch's CPU and memory, and to show that in MLflow.

An epoch of infonce on digits, batch 32, and the counters beside it, both by their median; and a study of ``--trials``,
nine epochs each, by the tracker to a new SQLite file, without and with what its epochs took.

    python benchmarks/system_metrics.py [--trials 500]

Prints the counters' part of an epoch, the CPU of both trackers, and one line of JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mlflow_sync import by_losstune, made, sqlite_store

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.history import Record
from losstune.trainer.run.loop import Trainer
from losstune.tuning.execute.counters import measured

EPOCHS, CALLS = 30, 2000
TAKEN = {"system/cpu_utilization_percentage": 99.5, "system/memory_usage_megabytes": 512.3}


def seconds(work: Callable[[], object], times: int) -> float:
    """The median of so many calls."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def epoch_seconds() -> float:
    """An epoch of training."""
    torch.set_num_threads(1)
    config = TrainConfig.from_flat({"loss_fn": "infonce", "batch_size": 32, "num_epochs": EPOCHS, "threads": 1})
    return seconds(Trainer(config, resident_data(load_pairs("digits"), config, torch.device("cpu"))).run_epoch, EPOCHS)


def tracker_ms(trials: int, more: Record) -> float:
    """CPU of the tracker, a trial."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        study = made(Path(folder), trials, more)
        with sqlite_store(Path(folder)) as uri:
            return 1000 * by_losstune(study, uri)[1] / trials


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost of system metrics.")
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    record: Record = {"epoch": 1}
    counters = seconds(lambda: measured(lambda: record, 1, torch.device("cpu")), CALLS)
    epoch = epoch_seconds()
    without, told = tracker_ms(trials, {}), tracker_ms(trials, TAKEN)
    print(f"{1e6 * counters:.0f} us of an epoch of {1e3 * epoch:.0f} ms", file=sys.stderr)
    print(f"{without:.2f} ms of the tracker's CPU a trial without, {told:.2f} with", file=sys.stderr)
    print(json.dumps({"counters": counters, "epoch": epoch, "without": without, "with": told}))


if __name__ == "__main__":
    main()
