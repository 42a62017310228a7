"""The trainer on a GPU: against a plain DataLoader loop and the CPU, and how many trials should share the GPU.

Two data sets: digits (1,797 rows, 32 → 32, batch 32: every step is over before the next is launched), and a large
synthetic one (200,000 rows, 512 → 256, batch 1024, hidden layers of 1024). InfoNCE, evaluation over the full gallery
in each epoch. All sides train the same model, loss, metrics and batch, and the median of the epochs after the
first counts; a slow side trains fewer.

Then the probe of ``--gpus-per-trial auto`` on both. Needs torch and the trainer, not Ray; at most three minutes.

    python benchmarks/gpu.py              # on a machine with a GPU
    python benchmarks/gpu.py --tiny       # anywhere, in seconds: shows that it runs

Prints a table, the probe's choice, and one line of JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from dataloader_loop import CPU, training_epochs

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.resident import resident_data, split_tensors, train_split
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.loop import Trainer
from losstune.tuning.execute import gpu_probe

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Data and the setting that is trained on it."""

    name: str
    pairs: Pairs
    batch_size: int
    hidden_dim: int
    epochs: int

    def settings(self, device: str, **changes: Any) -> dict[str, Any]:
        """Flat training settings."""
        model = {"model.hidden_dim": self.hidden_dim, "model.depth": 2}
        fixed = {"loss_fn": "infonce", "data": self.pairs.source, "num_epochs": self.epochs, "device": device}
        return {**fixed, **model, "batch_size": self.batch_size, "lr": 5e-4, "threads": 1, **changes}


def synthetic(rows: int, wide: int, narrow: int) -> Pairs:
    """A target that is a noisy nonlinear function of its input."""
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((rows, wide), dtype=np.float32)
    weights = generator.standard_normal((wide, narrow), dtype=np.float32) / np.sqrt(wide)
    noise = generator.standard_normal((rows, narrow), dtype=np.float32)
    targets = np.tanh(inputs @ weights).astype(np.float32) + 0.3 * noise
    return make_pairs({"inputs": inputs, "targets": targets}, f"synthetic {rows} x {wide}")


def tasks(*, tiny: bool) -> list[Task]:
    """Small and large."""
    if tiny:
        return [Task("digits", load_pairs("digits"), 32, 64, 2), Task("large", synthetic(2000, 32, 16), 64, 64, 2)]
    return [
        Task("digits", load_pairs("digits"), 32, 256, 12),
        Task("large", synthetic(200_000, 512, 256), 1024, 1024, 6),
    ]


def trainer_epochs(task: Task, device: str, precision: str) -> Generator[float]:
    """Seconds of each epoch of the product's trainer."""
    torch.set_num_threads(os.cpu_count() or 1)
    settings = task.settings(device, precision=precision, threads=None)
    config = TrainConfig.from_flat(settings)
    trainer = Trainer(config, resident_data(task.pairs, config, pick_device(config.device)))
    while trainer.end is None:
        yield trainer.run_epoch()["seconds"]


def dataloader_epochs(task: Task, device: str) -> Generator[float]:
    """Seconds of each epoch of the plain loop, which keeps its data on the CPU and sends each batch."""
    rows = split_rows(task.pairs, split_seed=0)
    train, val = train_split(task.pairs, rows.train, CPU), split_tensors(task.pairs, rows.val, CPU)
    settings: Mapping[str, Any] = {
        "temperature": 0.07,
        "batch_size": task.batch_size,
        "lr": 5e-4,
        "hidden_dim": task.hidden_dim,
        "depth": 2,
        "dropout": 0.0,
    }
    for metrics in training_epochs(settings, train, val, pick_device(device)):  # type: ignore[arg-type]
        yield metrics["seconds"]


def timed(epochs: Generator[float], count: int, seconds: float) -> float:
    """Median seconds of the epochs after the first: so many, or what there is time for; else of the first."""
    began = time.perf_counter()
    measured: list[float] = []
    first = next(epochs)
    while len(measured) < count and time.perf_counter() - began < seconds:
        measured.append(next(epochs))
    return median(measured or [first])


def compare(task: Task, device: str, seconds: float) -> list[Row]:
    """Each side in turn, with so much time each."""
    sides = {
        f"trainer, {device}, bfloat16": trainer_epochs(task, device, "bfloat16"),
        f"trainer, {device}, float32": trainer_epochs(task, device, "float32"),
        f"DataLoader, {device}, float32": dataloader_epochs(task, device),
    }
    if device == "cuda":
        sides["trainer, cpu, float32"] = trainer_epochs(task, "cpu", "float32")
    found = []
    for side, epochs in sides.items():
        took = timed(epochs, task.epochs - 1, seconds)
        found.append({"data": task.name, "side": side, "seconds": took, "epochs_per_second": 1 / took})
        print(f"{task.name:<8} {side:<28} {took:>9.3f} s an epoch {1 / took:>9.2f} epochs/s", flush=True)
        epochs.close()  # and with it its tensors
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return found


def probed(task: Task, device: str) -> Row:
    """The probe of ``--gpus-per-trial auto``; without a GPU its speeds alone."""
    began = time.perf_counter()
    settings = task.settings(device)
    if device == "cuda":
        largest = {**settings, "batch_size": 4 * task.batch_size, "model.hidden_dim": 4 * task.hidden_dim}
        found = gpu_probe.probe_gpu([largest], settings, task.pairs, most=os.cpu_count() or 1, folders=[])
        speeds, text = found.speeds, str(found)
    else:
        with gpu_probe.shared(task.pairs) as file:
            speeds = gpu_probe.speeds(settings, file, limit=2, seconds=0.3)
        text = f"{gpu_probe.choose(speeds)} at a time, by speed alone: no GPU here"
    seconds = time.perf_counter() - began
    print(f"{task.name}: {text}  [probe: {seconds:.0f} s]", flush=True)
    for count, speed in speeds.items():
        print(f"  {count:>3} at once {speed:>10.1f} batches/s together {speed / speeds[1]:>6.2f} times one", flush=True)
    return {"data": task.name, "choice": text, "speeds": {str(k): v for k, v in speeds.items()}, "seconds": seconds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The trainer on a GPU, and how many trials should share it.")
    parser.add_argument("--tiny", action="store_true", help="a few rows, on a CPU if there is no GPU")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.tiny:
        raise SystemExit("no GPU here; --tiny runs anywhere")
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    print(f"{name}, {os.cpu_count()} cores, torch {torch.__version__}", flush=True)
    every = tasks(tiny=options.tiny)
    rows = [row for task in every for row in compare(task, device, seconds=2.0 if options.tiny else 8.0)]
    probes = [probed(task, device) for task in every]
    print(
        json.dumps({"gpu": name, "cores": os.cpu_count(), "torch": torch.__version__, "rows": rows, "probes": probes})
    )


if __name__ == "__main__":
    main()
