"""How fast a study comes to MLflow from nothing, and how fast MLflow's own calls could be at best.

A study of ``--trials``, nine epochs of 13 metrics each, made without training; ``losstune sync`` of it to a new SQLite
file, and the same runs by MLflow's calls: one ``create_run``, ``log_batch`` and ``set_terminated`` each, no more.

    python benchmarks/mlflow_sync.py [--trials 2000]

Prints trials a second of both, and one line of JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

from losstune.trainer.base.files import sealed
from losstune.trainer.config.config_file import config_yaml
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.history import Record, history_line, read_history
from losstune.tuning.space.reader import load_space
from losstune.tuning.space.search_space import typical_point
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import Ending
from losstune.tuning.track.batches import batches, epoch_points
from losstune.tuning.track.mlflow_store import create_store
from losstune.tuning.track.mlflow_sync import Tracker

EPOCHS, METRICS = 9, 13
SPACE = Path(__file__).parent / "infonce_space.yaml"


def made(root: Path, trials: int) -> Study:
    """A search that has ended, of trials that used their epochs."""
    space, settings = load_space(str(SPACE)), StudySettings(trials=trials, max_epochs=EPOCHS)
    study = create_study(Home(root), "study", [space], settings, "digits", "0" * 64)
    own = LossTrials(study.storage(), space.loss_fn, study.spec.search_spaces()[space.loss_fn])
    point = typical_point(space)
    config = TrainConfig.from_flat({**space.settings(point), "num_epochs": EPOCHS})
    for seed in range(trials):
        number = own.add(point, seed=seed)
        folder = study.trials_folder / own[number].name
        folder.mkdir()
        (folder / "config.yaml").write_text(sealed(config_yaml(config)))
        (folder / "history.jsonl").write_text("".join(history_line(record) for record in curves(number)))
        own.end(number, Ending("complete", "used its epochs", EPOCHS, 0.4, EPOCHS))
    return study


def curves(number: int) -> list[Record]:
    """The epochs of a trial."""
    metrics = {f"val/metric_{index}": 1 / (1 + index + number) for index in range(METRICS)}
    now = time.time()
    return [
        {"epoch": e, "time": now + e, "seconds": 0.1, "lr": 1e-3, "val/mrr": 0.4, **metrics}
        for e in range(1, EPOCHS + 1)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A study to MLflow from nothing.")
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        study = made(root, trials)
        create_store(root / "ours.db")
        began = time.perf_counter()
        Tracker(study, f"sqlite:///{root}/ours.db").sync(None)
        ours = trials / (time.perf_counter() - began)
        create_store(root / "calls.db")
        client = MlflowClient(f"sqlite:///{root}/calls.db")
        experiment = client.create_experiment("study", artifact_location=str(root / "artifacts"))
        began = time.perf_counter()
        for path in sorted(study.trials_folder.iterdir()):
            run_id = client.create_run(experiment).info.run_id
            for batch in batches(list(epoch_points(read_history(path / "history.jsonl"))), {}, {}):
                client.log_batch(run_id, **batch)
            client.set_terminated(run_id)
        calls = trials / (time.perf_counter() - began)
    print(f"{ours:.0f} trials a second by losstune, {calls:.1f} by MLflow's calls alone", file=sys.stderr)
    print(json.dumps({"trials": trials, "losstune": ours, "calls": calls}))


if __name__ == "__main__":
    main()
