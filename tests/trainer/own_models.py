"""Models as a user writes them, and data for them."""

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from losstune.trainer.data.pairs import Pairs, make_pairs

HERE = "tests.trainer.own_models"
SCALE = 1.0
"""Of the frozen weights of :func:`features`."""


class Conv(nn.Module):
    """Images (B, 1, H, W) as they are loaded, 0 … 255."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_dim: int,
        depth: Annotated[int, Field(ge=1, le=4, description="layers of convolution")] = 1,
        width: int = 4,
        pool: Literal["mean", "max"] = "mean",
    ) -> None:
        super().__init__()
        channels = [input_shape[0], *[width] * depth]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.pool = nn.AdaptiveMaxPool2d(2) if pool == "max" else nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(4 * width, output_dim)

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        x = images.float() / 255
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(self.pool(x).flatten(1))


def bag(*, input_shape: tuple[int, ...], output_dim: int, words: int, dim: int = 8, dropout: float = 0) -> nn.Module:
    """Token ids (B, L) int64."""
    assert len(input_shape) == 1
    return nn.Sequential(nn.EmbeddingBag(words, dim), nn.Dropout(dropout), nn.Linear(dim, output_dim))


def features(*, input_shape: tuple[int, ...], output_dim: int, width: int = 64) -> nn.Module:
    """Random features that are frozen, and a linear head: vectors (B, n)."""
    frozen = nn.Linear(input_shape[0], width).requires_grad_(False)
    with torch.no_grad():
        frozen.weight.mul_(SCALE)
    return nn.Sequential(frozen, nn.GELU(), nn.BatchNorm1d(width), nn.Linear(width, output_dim))


class Mixed(nn.Module):
    """A first layer in float32, a second in bfloat16: vectors (B, n)."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(input_shape[0], 8), nn.Linear(8, output_dim, dtype=torch.bfloat16)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.first(inputs).bfloat16())


class Turned(nn.Linear):
    """Its rows lie in memory as columns: vectors (B, n)."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
        super().__init__(input_shape[0], output_dim, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.weight @ inputs.T).T


class Writing(nn.Module):
    """Scales its inputs where they lie, or a copy of them: vectors (B, n)."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int, in_place: bool = True) -> None:
        super().__init__()
        self.in_place = in_place
        self.layer = nn.Linear(input_shape[0], output_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.mul_(2) if self.in_place else inputs * 2)


class WritingIds(nn.Module):
    """Takes 1 off token ids (B, L) int64 where they lie."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(50, output_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.vectors(inputs.sub_(1).clamp_(min=0))


def image_pairs(rows: int = 200) -> Pairs:
    """Blurred images of a few random strokes, and the strokes."""
    rng = np.random.default_rng(0)
    strokes = rng.normal(size=(rows, 4)).astype(np.float32)
    basis = rng.normal(size=(4, 36))
    images = np.clip(128 + 40 * strokes @ basis, 0, 255).astype(np.uint8).reshape(rows, 1, 6, 6)
    return make_pairs({"inputs": images, "targets": strokes}, "images")


def token_pairs(rows: int = 200, words: int = 50, length: int = 7) -> Pairs:
    """Sentences of random words; a target is the mean of its words' vectors."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, words, size=(rows, length))
    vectors = rng.normal(size=(words, 5)).astype(np.float32)
    return make_pairs({"inputs": tokens, "targets": vectors[tokens].mean(axis=1)}, "tokens")


# What is no factory


def nothing(*, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    """Nothing can be trained."""
    return nn.Linear(input_shape[0], output_dim).requires_grad_(False)


class Detached(nn.Module):
    """What it returns depends on nothing that is trained."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_shape[0], output_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs).detach()


def failing(*, input_shape: tuple[int, ...], output_dim: int, layers: int = 1) -> nn.Module:
    raise RuntimeError(f"no weights\nfor {layers} layers")


def text(*, input_shape: tuple[int, ...], output_dim: int) -> str:
    return "a model"


def wide(*, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    return nn.Linear(input_shape[0], output_dim + 1)


class Pair(nn.Module):
    """Returns two tensors."""

    def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_shape[0], output_dim)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(inputs), inputs


def counting(*, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    """Returns the numbers of the largest outputs."""

    class Counting(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs).argsort()

    return Counting(input_shape[0], output_dim)
