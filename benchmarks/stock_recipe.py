"""The recipe of Ray Tune's documentation, measured: what one gets by putting the stock parts together.

A function trainable, ``OptunaSearch``, ``ASHAScheduler`` and ``MLflowLoggerCallback`` on SQLite, as in Ray's guides
"Running Tune experiments with Optuna", "Using MLflow with Tune" and "Hyperparameter tuning with PyTorch". InfoNCE on
digits, the space of ``infonce_space.yaml``, two trials at a time on one CPU each, one report an epoch, no checkpoints.

    python benchmarks/stock_recipe.py --trials 16 --dir "$(mktemp -d)" --seed 0

The last line printed is JSON: ``epochs`` trained over all trials, ``seconds`` of wall time since the process started
(imports, Ray, MLflow and all), ``trials``, and ``training_seconds``, the sum over trials of the time inside the
training and evaluation code. Linux only (the start of the process is read from /proc).
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})

import ray
import torch
from dataloader_loop import splits, training_epochs
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from losstune.trainer.data.resident import SplitTensors, TrainSplit

MAX_EPOCHS = 27
GRACE_EPOCHS = 3
REDUCTION_FACTOR = 3
SLOTS = 2

SPACE = {
    "temperature": tune.loguniform(0.02, 0.5),
    "batch_size": tune.choice([16, 32, 64]),
    "lr": tune.loguniform(1e-4, 1e-2),
    "hidden_dim": tune.choice([64, 128, 256]),
    "depth": tune.choice([1, 2]),
    "dropout": tune.uniform(0.0, 0.3),
}


def train_encoder(config: dict[str, Any], train: TrainSplit, val: SplitTensors, seed: int) -> None:
    """The trainable: one report an epoch, until ASHA or the last epoch ends it."""
    torch.manual_seed(seed)
    training_seconds = 0.0
    epochs = training_epochs(config, train, val)
    for _ in range(MAX_EPOCHS):
        metrics = next(epochs)
        training_seconds += metrics.pop("seconds")
        tune.report({**metrics, "training_seconds": training_seconds, "time": time.time()})


def make_tuner(folder: Path, data: str, trials: int, seed: int) -> tune.Tuner:
    """All parts of the recipe, put together."""
    train, val, _ = splits(data)
    tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
    return tune.Tuner(
        tune.with_parameters(train_encoder, train=train, val=val, seed=seed),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="val/mrr",
            mode="max",
            search_alg=OptunaSearch(seed=seed),
            scheduler=ASHAScheduler(max_t=MAX_EPOCHS, grace_period=GRACE_EPOCHS, reduction_factor=REDUCTION_FACTOR),
            num_samples=trials,
            max_concurrent_trials=SLOTS,
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(folder / "ray"),
            callbacks=[MLflowLoggerCallback(tracking_uri=tracking_uri, experiment_name="stock")],
        ),
    )


def seconds_since_process_start() -> float:
    """Age of this process, from its start time in clock ticks since boot (proc(5), field 22)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run one study and print its figures."""
    parser = argparse.ArgumentParser(description="The stock recipe of Ray's documentation, measured.")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--dir", type=Path, required=True, help="folder for Ray's results and MLflow's database")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="digits", help="as of losstune launch")
    options = parser.parse_args()
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False)
    try:
        results = make_tuner(options.dir.resolve(), options.data, options.trials, options.seed).fit()
    finally:
        ray.shutdown()
    if results.errors:
        raise results.errors[0]
    rows = [results[index].metrics or {} for index in range(len(results))]
    summary = {
        "epochs": sum(row["training_iteration"] for row in rows),
        "seconds": round(seconds_since_process_start(), 3),
        "trials": len(rows),
        "training_seconds": round(sum(row["training_seconds"] for row in rows), 3),
    }
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
