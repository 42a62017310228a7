"""How the costs of models are found: parameters without training, all the others of a trained one on this machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.data.columns import Column
from losstune.trainer.model.encoder import build_model
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.confirm.cost import BATCH, Cost

LEAST_SECONDS, LEAST_CALLS = 0.1, 5
"""A speed is measured over so many calls, and over so long, at least."""


def parameter_count(config: ModelConfig | FactoryConfig, input_shape: tuple[int, ...], output_dim: int) -> int:
    """Parameters of a model that is not trained: the encoder takes no memory for that, a user's own is built once.

    Raises:
        UserError: the user's factory fails.
    """
    match config:
        case ModelConfig():
            with torch.device("meta"):
                model = build_model(config, input_shape, output_dim)
        case FactoryConfig():
            with torch.random.fork_rng([]):  # its weights are drawn, and nothing else may notice
                model = build_model(config, input_shape, output_dim)
    return sum(parameter.numel() for parameter in model.parameters())


def measured_cost(checkpoint: Path, inputs: Column) -> Cost:
    """The cost of a trained model, its speed measured on rows (N, …) of the data, as ``losstune predict`` has it.

    Raises:
        UserError: as :func:`load_model`.
    """
    trained = load_model(checkpoint)
    trained = replace(trained, model=trained.model.cpu())
    rows = next(iter(inputs.split(BATCH))).cpu()
    rows = torch.cat([rows] * -(-BATCH // len(rows)))[:BATCH]
    with _one_thread():
        single = _calls_a_second(trained.embeddings, rows[:1])
        batched = BATCH * _calls_a_second(trained.embeddings, rows)
    return Cost(
        parameters=sum(parameter.numel() for parameter in trained.model.parameters()),
        file_bytes=checkpoint.stat().st_size,
        dims=trained.output_dim,
        single=single,
        batched=batched,
    )


def _calls_a_second(embed: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    """By the fastest tenth of the calls: whatever else the machine does makes the others slower, and none faster."""
    embed(rows)  # the first call of a shape chooses its kernels
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < LEAST_CALLS or time.perf_counter() - began < LEAST_SECONDS:
        before = time.perf_counter()
        embed(rows)
        seconds.append(time.perf_counter() - before)
    return 1 / sorted(seconds)[len(seconds) // 10]


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
