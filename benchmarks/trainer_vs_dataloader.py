"""The trainer alone against a plain DataLoader loop: same model, loss, metrics, batch, data and threads.

InfoNCE on digits, batch 32, two hidden layers of 128, one thread, no search and no files. Each side trains a fresh
model for ``--epochs`` epochs with evaluation; the sides alternate in one process, one warm-up each and then ``--runs``
measured runs. Times are the wall time of the epochs, without building data and model.

    python benchmarks/trainer_vs_dataloader.py --runs 3 --epochs 30

Prints epochs per second of both sides (each run, median) and the ratio of the medians; ``--json`` for programs.
"""

import argparse
import json
from collections.abc import Callable
from statistics import median

import torch
from dataloader_loop import splits, training_epochs

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.loop import Trainer

SETTINGS = {"temperature": 0.07, "batch_size": 32, "lr": 5e-4, "hidden_dim": 128, "depth": 2, "dropout": 0.0}
MODEL_SETTINGS = ("hidden_dim", "depth", "dropout")

Outcome = tuple[float, float]
"""Epochs per second, and the last epoch's val/mrr: both sides must learn alike."""


def run_dataloader(epochs: int, seed: int) -> Outcome:
    """Train with the plain loop."""
    torch.manual_seed(seed)
    records = training_epochs(SETTINGS, *splits("digits")[:2])
    rows = [next(records) for _ in range(epochs)]
    return epochs / sum(row["seconds"] for row in rows), rows[-1]["val/mrr"]


def run_trainer(epochs: int, seed: int) -> Outcome:
    """Train with the product's trainer."""
    flat = {f"model.{name}" if name in MODEL_SETTINGS else name: value for name, value in SETTINGS.items()}
    config = TrainConfig.from_flat({"loss_fn": "infonce", **flat, "num_epochs": epochs, "device": "cpu", "seed": seed})
    trainer = Trainer(config, resident_data(load_pairs("digits"), config, torch.device("cpu")))
    rows = [trainer.run_epoch() for _ in range(epochs)]
    return epochs / sum(row["seconds"] for row in rows), rows[-1]["val/mrr"]


SIDES: dict[str, Callable[[int, int], Outcome]] = {"trainer": run_trainer, "dataloader": run_dataloader}


def measure(runs: int, epochs: int) -> dict[str, list[Outcome]]:
    """Alternate the sides; the warm-up, run 0, is not in the result."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in SIDES}
    for seed in range(runs + 1):
        for name, side in SIDES.items():
            outcome = side(epochs, seed)
            if seed > 0:
                outcomes[name].append(outcome)
    return outcomes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The trainer alone against a plain DataLoader loop.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = measure(options.runs, options.epochs)
    medians = {name: median(rate for rate, _ in rows) for name, rows in outcomes.items()}
    ratio = medians["trainer"] / medians["dataloader"]
    if options.json:
        rates = {name: [rate for rate, _ in rows] for name, rows in outcomes.items()}
        print(json.dumps({"epochs_per_second": rates, "medians": medians, "ratio": ratio}))
        return
    for name, rows in outcomes.items():
        each = "  ".join(f"{rate:6.1f}" for rate, _ in rows)
        learnt = median(mrr for _, mrr in rows)
        print(f"{name:<11} {medians[name]:6.1f} epochs/s (runs: {each}), val/mrr after {options.epochs}: {learnt:.3f}")
    print(f"ratio       {ratio:6.2f}")


if __name__ == "__main__":
    main()
