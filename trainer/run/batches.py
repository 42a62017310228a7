"""Rows of the training split in batches."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.data.columns import rows_at_once
from losstune.trainer.data.resident import TrainSplit
from losstune.trainer.losses.base import OwnNegatives, RightTargets


class Batch(NamedTuple):
    """B rows of a split.

    Attributes:
        inputs: (B, …), as the model's first layer takes them.
        targets: (B, d).
        aims: (B, d), the targets as the loss takes them.
        ids: (B,).
        right: targets that are right beside a row's own, where inputs have several.
        negatives: those of each row's own, where rows have some, as the loss takes targets.
    """

    inputs: Tensor
    targets: Tensor
    aims: Tensor
    ids: Tensor
    right: RightTargets | None = None
    negatives: OwnNegatives | None = None


def batches_of(
    split: TrainSplit,
    order: Tensor,
    size: int,
    prepared: Callable[[Tensor, Tensor, Tensor], Batch],
    negatives: Callable[[Tensor], OwnNegatives | None],
) -> Iterator[Batch]:
    """Rows in the given order, gathered and prepared by some thousands at a time, and cut into batches.

    Args:
        negatives: those of each row's own, of some rows.
    """
    for rows in order.split(size * max(1, rows_at_once(split.inputs) // size)):
        whole = prepared(*(x.index_select(0, rows) for x in (split.inputs, split.targets, split.ids)))
        columns = (column.split(size) for column in (whole.inputs, whole.targets, whole.aims, whole.ids))
        right = split.right(rows)
        rights = itertools.repeat(None) if right is None else right.split(size)
        yield from itertools.starmap(Batch, zip(*columns, rights, map(negatives, rows.split(size)), strict=False))


def grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """So many batches at a time; the last group may be shorter."""
    while group := list(itertools.islice(batches, size)):
        yield group


def one_row_refused(error: Exception, rows: int, size: int) -> UserError:
    """What a model or a loss that fails on a last batch of one row, as one with BatchNorm, means for its user.

    Args:
        rows: of the training split.
        size: of a batch.
    """
    fits = next(other for other in itertools.count(size + 1) if rows % other != 1)
    return UserError(
        f"batch_size: found {size}; of {rows} training rows it leaves one for the last batch, where the model or the "
        f"loss fails: {one_line(error)}; --batch_size {fits} leaves none alone"
    )
