"""Small data, configs and trainers for the tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.history import SYSTEM
from losstune.trainer.run.loop import Trainer

Arrays = dict[str, npt.NDArray[Any]]

ALLOWED_LOSSES = (
    "cosine, cosine_mse, full_softmax, huber, infonce, infonce_cosine, mse, siglip, triplet, "
    "or package.module:ConfigClass"
)
"""What a message about an unknown loss allows."""


PICKLED = (
    "holds Python objects (a pickle); only plain numbers are read: "
    "save numpy.stack of rows that are arrays, and text as array.astype(str)"
)
"""What a message about a ``.npy`` array of objects says of it."""


def sample_arrays(rows: int = 200, width: int = 6, dims: int = 5, seed: int = 0) -> Arrays:
    """Targets that a linear map of the inputs predicts well, but not perfectly."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, width))
    targets = inputs @ rng.normal(size=(width, dims)) + 0.3 * rng.normal(size=(rows, dims))
    return {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.float32)}


def sample_pairs(**arguments: int) -> Pairs:
    return make_pairs(sample_arrays(**arguments), "sample")


def sample_config(loss_fn: str = "cosine", **settings: Any) -> TrainConfig:
    """A small encoder on the CPU; dotted names go in as ``**{"model.depth": 0}``."""
    small = {"model.hidden_dim": 16, "model.depth": 1, "device": "cpu", "precision": "float32", "num_epochs": 5}
    return TrainConfig.from_flat({"loss_fn": loss_fn, **small, **settings})


def sample_trainer(config: TrainConfig, pairs: Pairs | None = None) -> Trainer:
    return Trainer(config, resident_data(pairs or sample_pairs(), config, torch.device("cpu")))


def train_to_end(trainer: Trainer) -> list[dict[str, float]]:
    records = []
    while trainer.end is None:
        records.append(trainer.run_epoch())
    return records


def timeless(records: list[dict[str, float]]) -> list[dict[str, float]]:
    """Records without what the clock and the machine put into them."""
    return [{name: value for name, value in record.items() if not machines_own(name)} for record in records]


def machines_own(name: str) -> bool:
    """Whether a record's value may differ when the same epoch is trained again."""
    return name in ("time", "seconds") or name.startswith(SYSTEM)


def refusal(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """The message of the UserError that a call must end in."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    return str(caught.value)


def changed(**arrays: Any) -> Arrays:
    """Six good rows, with some arrays replaced, or left out where None."""
    good = {**sample_arrays(rows=6, width=3, dims=2), **arrays}
    return {name: array for name, array in good.items() if array is not None}


def with_value(name: str, row: int, value: float) -> Arrays:
    arrays = changed()
    arrays[name][row] = value
    return arrays
