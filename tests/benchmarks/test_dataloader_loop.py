"""The other side of the benchmarks: it must train on the same rows, and compute the same numbers, as the product."""

import sys

import pytest
import torch

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.loop import Trainer
from tests.benchmarks.test_search import ROOT

sys.path.append(str(ROOT / "benchmarks"))  # its modules stand side by side
from dataloader_loop import splits, training_epochs

MODEL = {"hidden_dim": 32, "depth": 1, "dropout": 0.0}
SETTINGS = {"temperature": 0.1, "batch_size": 64, "lr": 1e-3}


def test_the_plain_loop_logs_what_the_trainer_logs_on_the_same_rows() -> None:
    torch.manual_seed(0)
    train, val, test = splits("digits")
    records = training_epochs(SETTINGS | MODEL, train, val)
    plain = [next(records) for _ in range(9)]
    model = {f"model.{name}": value for name, value in MODEL.items()}
    config = TrainConfig.from_flat({**SETTINGS, **model, "loss_fn": "infonce", "data": "digits"})
    data = resident_data(load_pairs("digits"), config, torch.device("cpu"))
    trainer = Trainer(config, data)
    ours = [trainer.run_epoch() for _ in range(9)]
    metrics = {name for name in ours[0] if name.startswith(("train/", "val/"))}
    assert metrics == plain[0].keys() - {"seconds"}
    assert f"the same {len(metrics)} metrics" in " ".join((ROOT / "README.md").read_text().split())
    assert data.val is not None
    assert torch.equal(val.targets, data.val.targets)
    assert torch.equal(train.ids, data.train.ids)
    assert not set(test.ids.tolist()) & set(train.ids.tolist() + val.ids.tolist())
    assert plain[-1]["val/mrr"] == pytest.approx(ours[-1]["val/mrr"], abs=0.05)
    assert plain[-1]["val/mrr"] > 2 * plain[0]["val/mrr"]
