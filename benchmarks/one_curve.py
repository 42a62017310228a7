"""One training for ``curves.py``: evaluated after each epoch by its weights, and by averages of them."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import ResidentData, SplitTensors, resident_data, split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.model.averaged_weights import AveragedWeights
from losstune.trainer.model.optimizer import ClippedAdamW
from losstune.trainer.run.loop import Trainer
from losstune.trainer.score.ranking import NonFiniteError, rank_in_gallery

AVERAGES = (1.0, 2.0)
"""Time constants of the averages, in epochs."""
CPU = torch.device("cpu")
Floats = npt.NDArray[np.floating[Any]]


def parts(pairs: Pairs, config: TrainConfig) -> tuple[ResidentData, SplitTensors]:
    """What training sees, and the test split, which it does not."""
    test = split_rows(pairs, config.split_seed).test
    return resident_data(pairs, config, CPU), split_tensors(pairs, test, CPU)


class Watched:
    """A trainer's optimizer, whose every step averages take in; counts the time that these take."""

    def __init__(self, optimizer: ClippedAdamW, averages: Sequence[AveragedWeights]) -> None:
        self.optimizer, self.averages = optimizer, averages
        self.seconds = 0.0

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self, lr: float) -> None:
        self.optimizer.step(lr)
        began = time.process_time()
        for average in self.averages:
            average.update()
        self.seconds += time.process_time() - began


@dataclass(frozen=True)
class Curve:
    """Of one run: MRR (1 + m, E) of the weights and of each average, and the seconds of an epoch."""

    val: Floats
    test: Floats
    seconds: float


def trained(config: TrainConfig, data: ResidentData, test: SplitTensors, epochs: int) -> Curve:
    """One training, evaluated after each epoch by its weights and by averages of them."""
    trainer = Trainer(config, data)
    rows, size = len(data.train), config.batch_size
    steps = rows // size if config.loss.in_batch else math.ceil(rows / size)
    averages = [AveragedWeights(trainer.model, constant, steps, None) for constant in AVERAGES]
    watched = Watched(trainer.optimizer, averages)
    trainer.optimizer = watched  # type: ignore[assignment]  # the one place that every step passes
    val, tested = np.full((2, 1 + len(averages), epochs), np.nan, dtype=np.float16)
    seconds = []
    assert data.val is not None
    for epoch in range(epochs):
        began, watched.seconds = time.process_time(), 0.0
        record = trainer.run_epoch()
        seconds.append(time.process_time() - began - watched.seconds)
        if trainer.end == "diverged":
            break
        val[0, epoch], tested[0, epoch] = record["val/mrr"], mrr(trainer, test)
        for place, average in enumerate(averages, start=1):
            if place > 1 and same(average, averages[place - 2]):  # early on they reach back equally far
                val[place, epoch], tested[place, epoch] = val[place - 1, epoch], tested[place - 1, epoch]
                continue
            with average.in_place():
                val[place, epoch], tested[place, epoch] = mrr(trainer, data.val), mrr(trainer, test)
    return Curve(val, tested, float(np.median(seconds)))


def same(average: AveragedWeights, other: AveragedWeights) -> bool:
    """Whether two averages are of the same weights."""
    pairs = zip(average.weights().values(), other.weights().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def mrr(trainer: Trainer, split: SplitTensors) -> float:
    """Mean reciprocal rank of a trainer's predictions; NaN where they are not finite."""
    try:
        predictions = trainer.predict(split.inputs)
        return rank_in_gallery(predictions, split.gallery, split.positive, trainer.center).mrr()
    except NonFiniteError:
        return math.nan
