"""Batches: every row once, in order, whatever is gathered at a time."""

import pytest
import torch
from torch import Tensor

from losstune.trainer.data import columns
from losstune.trainer.data.resident import TrainSplit
from losstune.trainer.losses.base import OwnNegatives
from losstune.trainer.run.batches import Batch, batches_of, grouped

SPLIT = TrainSplit(torch.arange(20.0).view(10, 2), torch.arange(30.0).view(10, 3), torch.arange(10))


def no_negatives(rows: Tensor) -> None:
    """Rows have none of their own."""


def named(rows: Tensor) -> OwnNegatives:
    """The number of each row, in place of negatives."""
    return OwnNegatives(rows.view(-1, 1, 1), rows.view(-1, 1) >= 0)


def doubled(inputs: Tensor, targets: Tensor, ids: Tensor) -> Batch:
    return Batch(2 * inputs, targets, targets - 1, ids)


@pytest.mark.parametrize("at_once", [1, 4, 4096])
@pytest.mark.parametrize("size", [3, 5, 20])
def test_rows_come_in_order_prepared_and_in_batches(size: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", at_once)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    batches = list(batches_of(SPLIT, order, size, doubled, named))
    assert [len(batch.ids) for batch in batches] == [len(rows) for rows in order.split(size)]
    whole = Batch(*(torch.cat(column) for column in zip(*(batch[:4] for batch in batches), strict=True)))
    assert {batch.right for batch in batches} == {None}
    assert [batch.negatives.targets.flatten().tolist() for batch in batches if batch.negatives] == [
        batch.ids.tolist() for batch in batches
    ]
    assert torch.equal(whole.ids, order)
    assert torch.equal(whole.inputs, 2 * SPLIT.inputs[order])
    assert torch.equal(whole.targets, SPLIT.targets[order])
    assert torch.equal(whole.aims, SPLIT.targets[order] - 1)


def test_groups_are_so_many_batches_and_the_last_may_be_short() -> None:
    batches = batches_of(SPLIT, torch.arange(10), 2, doubled, no_negatives)
    assert [[batch.ids.tolist() for batch in group] for group in grouped(batches, 3)] == [
        [[0, 1], [2, 3], [4, 5]],
        [[6, 7], [8, 9]],
    ]
