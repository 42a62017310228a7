"""Splits as tensors: every row with its own target, every distinct target once, and enough rows for a batch."""

from typing import Any

import numpy as np
import pytest
import torch

from losstune.trainer.data.pairs import make_pairs
from losstune.trainer.data.resident import CenteredTargets, SplitTensors, resident_data, split_shortfall
from losstune.trainer.data.splits import query_rows, split_rows
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


@pytest.mark.parametrize(
    ("row", "twin", "distinct"), [(0, 0, True), (1, 2, False), (6, 7, True)], ids=["none", "train", "val"]
)
def test_a_training_split_is_distinct_where_no_two_of_its_rows_share_a_target(
    row: int, twin: int, distinct: bool
) -> None:
    arrays = split_arrays(train=5, val=4)
    arrays["targets"][row] = arrays["targets"][twin]
    data = resident_data(make_pairs(arrays, "x"), sample_config(batch_size=4), CPU)
    assert CenteredTargets(data.train, None).distinct is data.train.distinct is distinct


def test_inputs_and_targets_of_a_row_stay_together() -> None:
    pairs = sample_pairs()
    rows = {row.tobytes(): target.tobytes() for row, target in zip(pairs.inputs, pairs.targets, strict=True)}
    data = resident_data(pairs, sample_config(), CPU)
    assert data.val is not None
    for inputs, target in zip(data.val.inputs, data.val.targets, strict=True):
        assert rows[inputs.numpy().tobytes()] == target.numpy().tobytes()


def test_there_is_no_validation_split_when_its_rows_are_trained_on() -> None:
    assert resident_data(sample_pairs(), sample_config(fit="train+val"), CPU).val is None


SMALLER = "use --batch_size {} or less, or more data"
NONE_SMALLER = "infonce takes batches of 16 or more: use more data, or another --loss_fn"


@pytest.mark.parametrize(
    ("loss_fn", "batch_size", "train", "val", "message"),
    [
        ("cosine", 16, 15, 9, f"the train split has 15 rows, fewer than one batch of 16; {SMALLER.format(15)}"),
        ("infonce", 32, 31, 32, f"the train split has 31 rows, fewer than one batch of 32; {SMALLER.format(31)}"),
        ("infonce", 32, 32, 31, f"the val split has 31 rows, fewer than one batch of 32; {SMALLER.format(31)}"),
        ("infonce", 16, 16, 15, f"the val split has 15 rows, fewer than one batch of 16; {NONE_SMALLER}"),
    ],
)
def test_a_split_smaller_than_one_batch_is_refused(
    loss_fn: str, batch_size: int, train: int, val: int, message: str
) -> None:
    pairs = make_pairs(split_arrays(train, val), "pairs.npz")
    config = sample_config(loss_fn, batch_size=batch_size)
    expected = f"pairs.npz: {message}"
    assert refusal(resident_data, pairs, config, CPU) == expected


@pytest.mark.parametrize(("loss_fn", "train", "val"), [("cosine", 16, 1), ("infonce", 16, 16)])
def test_exactly_one_batch_is_enough(loss_fn: str, train: int, val: int) -> None:
    pairs = make_pairs(split_arrays(train, val), "x")
    assert len(resident_data(pairs, sample_config(loss_fn, batch_size=16), CPU).train) == train


def test_validation_rows_need_not_fill_a_batch_when_they_are_trained_on() -> None:
    pairs = make_pairs(split_arrays(30, 2), "x")
    assert len(resident_data(pairs, sample_config("infonce", fit="train+val"), CPU).train) == 32


class TestASampleOfTheValidationRows:
    """Of 6,000 rows, three to a target, about 1,200 are for validation, of which 1,000 are scored."""

    PAIRS = make_pairs({n: np.concatenate([a] * 3) for n, a in sample_arrays(rows=2000).items()}, "pairs.npz")

    def val(self, **settings: Any) -> SplitTensors:
        data = resident_data(self.PAIRS, sample_config(**settings), CPU)
        assert data.val is not None
        return data.val

    def test_is_ranked_against_every_target_of_the_split(self) -> None:
        some, whole = self.val(eval_queries=1000), self.val()
        assert len(some) == len(some.inputs) == len(some.targets) == 1000 < len(whole)
        assert torch.equal(some.gallery, whole.gallery)
        assert torch.equal(some.gallery[some.positive], some.targets)

    def test_is_that_many_rows_of_the_whole_in_their_order(self) -> None:
        some, whole = self.val(eval_queries=1000), self.val()
        rows = split_rows(self.PAIRS, 0).val
        kept = torch.from_numpy(np.isin(rows, query_rows(rows, 1000)))
        for found, all_rows in ((some.inputs, whole.inputs), (some.targets, whole.targets), (some.ids, whole.ids)):
            assert torch.equal(found, all_rows[kept])  # type: ignore[arg-type, index]

    @pytest.mark.parametrize("loss_fn", ["infonce", "mse", "siglip"])
    @pytest.mark.parametrize("seed", [0, 7])
    def test_is_the_same_for_every_loss_and_seed_of_training(self, loss_fn: str, seed: int) -> None:
        one, other = self.val(eval_queries=1000), self.val(loss_fn=loss_fn, seed=seed, eval_queries=1000)
        assert torch.equal(one.inputs, other.inputs)  # type: ignore[arg-type]

    def test_is_the_whole_split_where_that_has_no_more(self) -> None:
        assert len(self.val(eval_queries=2000)) == len(self.val())

    def test_that_is_smaller_than_a_batch_is_refused_where_validation_goes_by_batches(self) -> None:
        config = sample_config("infonce", batch_size=1100, eval_queries=1000)
        message = (
            "pairs.npz: eval_queries 1000 is less than one batch of 1100, and infonce is validated on whole batches; "
            "use --batch_size 1000 or less, or --eval_queries 1100 or more"
        )
        assert refusal(resident_data, self.PAIRS, config, CPU) == message
        short = split_shortfall(config, self.PAIRS)
        assert short is not None
        assert message.startswith(f"pairs.npz: {short.reason}; ")
        assert (short.most, short.more) == (1000, "--eval_queries 1100 or more")
        for settings in ({"loss_fn": "infonce", "eval_queries": 1100}, {"loss_fn": "mse", "eval_queries": 1000}):
            assert split_shortfall(sample_config(batch_size=1100, **settings), self.PAIRS) is None
