"""Rows of the training split in batches."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from losstune.trainer.data.columns import rows_at_once
from losstune.trainer.data.resident import TrainSplit


class Batch(NamedTuple):
    """B rows of a split.

    Attributes:
        inputs: (B, …), as the model's first layer takes them.
        targets: (B, d).
        aims: (B, d), the targets as the loss takes them.
        ids: (B,).
    """

    inputs: Tensor
    targets: Tensor
    aims: Tensor
    ids: Tensor


def batches_of(
    split: TrainSplit, order: Tensor, size: int, prepared: Callable[[Tensor, Tensor, Tensor], Batch]
) -> Iterator[Batch]:
    """Rows in the given order, gathered and prepared by some thousands at a time, and cut into batches."""
    for rows in order.split(size * max(1, rows_at_once(split.inputs) // size)):
        many = prepared(*(x.index_select(0, rows) for x in (split.inputs, split.targets, split.ids)))
        yield from map(Batch._make, zip(*(column.split(size) for column in many), strict=True))


def grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """So many batches at a time; the last group may be shorter."""
    while group := list(itertools.islice(batches, size)):
        yield group
