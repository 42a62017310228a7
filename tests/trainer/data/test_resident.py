"""Splits as tensors: every row with its own target, every distinct target once, and enough rows for a batch."""

import numpy as np
import pytest
import torch

from losstune.trainer.data.pairs import make_pairs
from losstune.trainer.data.resident import resident_data
from tests.trainer.samples import Arrays, refusal, sample_arrays, sample_config, sample_pairs

CPU = torch.device("cpu")


def split_arrays(train: int, val: int, test: int = 1) -> Arrays:
    names = np.array(["train"] * train + ["val"] * val + ["test"] * test)
    return {**sample_arrays(rows=train + val + test), "split": names}


def test_the_gallery_holds_each_distinct_target_once_and_positives_point_to_their_own() -> None:
    arrays = {name: np.concatenate([array] * 3) for name, array in sample_arrays(rows=100).items()}
    data = resident_data(make_pairs(arrays, "x"), sample_config(), CPU)
    assert data.val is not None
    for split in (data.train, data.val):
        assert len(split) == 3 * len(split.gallery)
        assert len(split.gallery.unique(dim=0)) == len(split.gallery)
    assert torch.equal(data.val.gallery[data.val.positive], data.val.targets)


def test_inputs_and_targets_of_a_row_stay_together() -> None:
    pairs = sample_pairs()
    rows = {row.tobytes(): target.tobytes() for row, target in zip(pairs.inputs, pairs.targets, strict=True)}
    data = resident_data(pairs, sample_config(), CPU)
    assert data.val is not None
    for inputs, target in zip(data.val.inputs, data.val.targets, strict=True):
        assert rows[inputs.numpy().tobytes()] == target.numpy().tobytes()


def test_there_is_no_validation_split_when_its_rows_are_trained_on() -> None:
    assert resident_data(sample_pairs(), sample_config(fit="train+val"), CPU).val is None


@pytest.mark.parametrize(
    ("loss_fn", "batch_size", "train", "val", "message"),
    [
        ("cosine", 16, 15, 9, "the train split has 15 rows, fewer than one batch of 16"),
        ("infonce", 16, 15, 16, "the train split has 15 rows, fewer than one batch of 16"),
        ("infonce", 16, 16, 15, "the val split has 15 rows, fewer than one batch of 16"),
    ],
)
def test_a_split_smaller_than_one_batch_is_refused(
    loss_fn: str, batch_size: int, train: int, val: int, message: str
) -> None:
    pairs = make_pairs(split_arrays(train, val), "pairs.npz")
    config = sample_config(loss_fn, batch_size=batch_size)
    expected = f"pairs.npz: {message}; use a smaller batch_size or more data"
    assert refusal(resident_data, pairs, config, CPU) == expected


@pytest.mark.parametrize(("loss_fn", "train", "val"), [("cosine", 16, 1), ("infonce", 16, 16)])
def test_exactly_one_batch_is_enough(loss_fn: str, train: int, val: int) -> None:
    pairs = make_pairs(split_arrays(train, val), "x")
    assert len(resident_data(pairs, sample_config(loss_fn, batch_size=16), CPU).train) == train


def test_validation_rows_need_not_fill_a_batch_when_they_are_trained_on() -> None:
    pairs = make_pairs(split_arrays(30, 2), "x")
    assert len(resident_data(pairs, sample_config("infonce", fit="train+val"), CPU).train) == 32
