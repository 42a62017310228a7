"""Rows of the training split in batches."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from losstune.trainer.data.columns import rows_at_once
from losstune.trainer.data.resident import TrainSplit
from losstune.trainer.losses.base import RightTargets


class Batch(NamedTuple):
    """B rows of a split.

    Attributes:
        inputs: (B, …), as the model's first layer takes them.
        targets: (B, d).
        aims: (B, d), the targets as the loss takes them.
        ids: (B,).
        right: targets that are right beside a row's own, where inputs have several.
    """

    inputs: Tensor
    targets: Tensor
    aims: Tensor
    ids: Tensor
    right: RightTargets | None = None


def batches_of(
    split: TrainSplit, order: Tensor, size: int, prepared: Callable[[Tensor, Tensor, Tensor], Batch]
) -> Iterator[Batch]:
    """Rows in the given order, gathered and prepared by some thousands at a time, and cut into batches."""
    for rows in order.split(size * max(1, rows_at_once(split.inputs) // size)):
        inputs, targets, aims, ids, _ = prepared(
            *(x.index_select(0, rows) for x in (split.inputs, split.targets, split.ids))
        )
        columns: list[Sequence[Any]] = [column.split(size) for column in (inputs, targets, aims, ids)]
        if (right := split.right(rows)) is not None:
            columns.append(right.split(size))
        yield from itertools.starmap(Batch, zip(*columns, strict=True))


def grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """So many batches at a time; the last group may be shorter."""
    while group := list(itertools.islice(batches, size)):
        yield group
