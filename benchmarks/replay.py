"""Trains some epochs of a study's trials again, and scores the test rows after each: what the study never looked at.

A trial's epochs follow from its config alone, so the model here is the one that the study had. Runs on either side
of a comparison (``earlier.py``): reads ``[[config, epochs], …]`` as JSON, prints the test MRR after each epoch.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import torch

# isort: off
try:
    from trainer.config import TrainConfig  # type: ignore[attr-defined]  # before all packages had one name
    from trainer.data import load_pairs  # type: ignore[attr-defined]
    from trainer.loop import Trainer  # type: ignore[import-not-found]
    from trainer.resident import resident_data, split_tensors  # type: ignore[import-not-found]
    from trainer.splits import split_rows  # type: ignore[import-not-found]
except ImportError:
    from losstune.trainer.config.train_config import TrainConfig
    from losstune.trainer.data.pairs import load_pairs
    from losstune.trainer.data.resident import resident_data, split_tensors
    from losstune.trainer.data.splits import split_rows
    from losstune.trainer.run.loop import Trainer
# isort: on

CPU = torch.device("cpu")


def test_mrr(settings: dict[str, Any], epochs: int) -> list[float]:
    """MRR on the test rows after each of so many epochs."""
    config = TrainConfig.from_flat(settings)
    pairs = load_pairs(config.data)
    data = resident_data(pairs, config, CPU)
    test = split_tensors(pairs, split_rows(pairs, config.split_seed).test, CPU)
    trainer = Trainer(config, replace(data, val=test))
    return [trainer.run_epoch()["val/mrr"] for _ in range(epochs)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([test_mrr(settings, epochs) for settings, epochs in json.load(sys.stdin)]))
