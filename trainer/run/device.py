"""Where a model computes, in which arithmetic, and with which random numbers."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import Device, Precision, TrainConfig
from losstune.trainer.data.columns import Column
from losstune.trainer.model.encoder import Encoder


def pick_device(device: Device) -> torch.device:
    """The torch device; ``auto`` is a GPU if there is one.

    Raises:
        UserError: ``cuda`` where torch sees no GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: found cuda, but torch sees no GPU here; allowed: auto, cpu")
    return torch.device(device)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Arithmetic of the model: bfloat16 when asked to, or on a GPU that may choose; else float32."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@torch.no_grad()
def embed_pieces(model: nn.Module, inputs: Column, config: TrainConfig, device: torch.device) -> Iterator[Tensor]:
    """Embeddings (n, d) float32 on the device of inputs (N, …), in order, ``eval_batch`` rows at a time."""
    model.eval()
    for rows in inputs.split(config.eval_batch):
        with autocast(config.precision, device):
            embeddings: Tensor = model(given_to(model, rows.to(device)))
            yield embeddings.float().contiguous()  # a user's model may give rows that lie in memory as columns


def given_to(model: nn.Module, rows: Tensor) -> Tensor:
    """Rows as a model gets them: a user's may write into what it is given, and what it is given may be the data."""
    return rows if isinstance(model, Encoder) else rows.clone()


class RandomState(NamedTuple):
    """Of torch's generators that a pass on a device draws from."""

    device: torch.device
    on_cpu: Tensor
    on_gpu: Tensor | None

    def restore(self) -> None:
        """Let the next pass draw what was drawn from here."""
        torch.set_rng_state(self.on_cpu)
        if self.on_gpu is not None:
            torch.cuda.set_rng_state(self.on_gpu, self.device)


def random_state(device: torch.device) -> RandomState:
    """As it is now."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return RandomState(device, torch.get_rng_state(), on_gpu)


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Torch's generators seeded by (seed, epoch), and put back afterwards; weights are drawn at epoch 0."""
    key = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(key, "little") >> 1)
        yield
