"""A program that uses every name of the face: a script without ``if __name__``, which works in a thread, quietly.

It runs in an empty folder and writes what it found to ``found.json``.
"""

import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

import losstune as lt

rng = np.random.default_rng(0)
inputs = rng.normal(size=(400, 8)).astype(np.float32)
targets = np.tanh(inputs @ rng.normal(size=(8, 6))).astype(np.float32)
arrays = {"inputs": inputs, "targets": targets}
found: dict[str, Any] = {"version": lt.__version__, "threads": torch.get_num_threads()}


class Margin(lt.LossModule):
    """The distance to the own target, where it is more than a margin."""

    def __init__(self, margin: float, gallery: lt.Gallery) -> None:
        super().__init__()
        self.margin = margin
        self.register_buffer("mean", gallery.targets.mean(dim=0))

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor) -> lt.LossOutput:
        """Loss of a batch."""
        mean = self.get_buffer("mean")
        distance = 1 - (lt.unit(lt.centered(predictions, mean)) * lt.unit(targets)).sum(dim=-1)
        loss = (distance - self.margin).clamp_min(0).mean()
        return lt.LossOutput(loss, {"distance": lt.cosine_distance(predictions, targets)})


class MarginConfig(lt.LossConfig):
    """The loss ``margin``."""

    name: ClassVar[str] = "margin"
    margin: float = Field(0.1, ge=0, le=1, description="distance that costs nothing")

    def build(self, train: lt.TrainTargets) -> lt.LossModule:
        """The module, which knows the mean target."""
        return Margin(self.margin, train.gallery())


def work() -> None:
    """Everything but the loss, in a thread."""
    pairs: lt.Pairs = lt.load_pairs(arrays)
    rows = lt.split_rows(pairs, 0)
    found["rows"] = [len(rows.train), len(rows.val), len(rows.test)]
    found["oracle"] = lt.score(targets, pairs)["mrr"]

    budget: dict[str, Any] = {"trials": 2, "max_epochs": 3, "cpus_per_trial": 1, "quiet": True}
    own_space = {"loss_fn": "mse", "space": {"lr": {"low": 1e-3, "high": 1e-2, "log": True}}}
    study: lt.StudyView = lt.launch([own_space, "cosine"], arrays, study="mine", **budget)
    found["frame"] = study.trials_dataframe()[["trial", "state"]].to_dict("records")
    best: lt.BestTrial = study.best("mse")
    found["best"] = [best.trial, best.value, sorted(best.setting)]
    found["optuna"] = len(study.optuna("mse").trials)
    found["data"] = study.status()["data"]

    lt.confirm(study, top=1, seeds=2, quiet=True)
    comparison: lt.ComparisonView = lt.compare("mine")
    found["winner"] = comparison.winner
    found["pairs"] = len(comparison.pairs)
    found["answer"] = comparison.to_dict()["answer"]
    found["report"] = Path(lt.report(study, "report.html")).stat().st_size
    found["exported"] = lt.export(lt.open_study("mine"), "best.yaml").trial
    found["studies"] = [row["study"] for row in lt.studies()]

    run: lt.Run = lt.train("best.yaml", output_dir="final", quiet=True, test=True)
    model: lt.TrainedModel = lt.load_model(run.checkpoint)
    config: lt.TrainConfig = model.config
    found["trained"] = [config.loss.name, run.metrics["test/mrr"]]
    found["scored"] = lt.score(model.predict(inputs), arrays, center=config.center)["mrr"]
    try:
        lt.launch("cosine", arrays, study="other", max_epochs=0, quiet=True)
    except lt.LosstuneError as error:
        found["error"] = str(error)


thread = threading.Thread(target=work)
thread.start()
thread.join()
found["threads_after"] = torch.get_num_threads()
Path("found.json").write_text(json.dumps(found))
