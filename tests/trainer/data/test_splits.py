"""Splits: their shares, what they depend on, and what they do not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.splits import Splits, split_rows
from tests.trainer.samples import Arrays, refusal, sample_arrays

split_seeds = st.integers(0, 2**63 - 1)
PAIRS = make_pairs(sample_arrays(rows=4000), "sample")


def repeated(arrays: Arrays, times: int) -> Arrays:
    return {name: np.concatenate([array] * times) for name, array in arrays.items()}


def shares(splits: Splits) -> list[float]:
    counts = [len(rows) for rows in (splits.train, splits.val, splits.test)]
    return [count / sum(counts) for count in counts]


class TestShares:
    @pytest.mark.parametrize("split_seed", [0, 1, 2, 99, 32343, 2**63 - 1])
    def test_splits_hold_60_20_20_of_the_rows(self, split_seed: int) -> None:
        assert shares(split_rows(PAIRS, split_seed)) == pytest.approx([0.6, 0.2, 0.2], abs=0.03)

    @given(split_seeds)
    def test_no_seed_leaves_a_split_far_from_its_share(self, split_seed: int) -> None:
        assert shares(split_rows(PAIRS, split_seed)) == pytest.approx([0.6, 0.2, 0.2], abs=0.04)

    @pytest.mark.parametrize("ids", [np.arange(4000), np.arange(4000) * 2**40, -np.arange(4000)])
    def test_shares_hold_for_ids_that_follow_a_pattern(self, ids: np.ndarray) -> None:
        pairs = make_pairs({**sample_arrays(rows=4000), "ids": ids}, "sample")
        assert shares(split_rows(pairs, 0)) == pytest.approx([0.6, 0.2, 0.2], abs=0.03)

    def test_digits_are_split_60_20_20(self) -> None:
        assert shares(split_rows(load_pairs("digits"), 0)) == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


@given(split_seeds)
def test_every_row_is_in_exactly_one_split(split_seed: int) -> None:
    splits = split_rows(PAIRS, split_seed)
    assert sorted([*splits.train, *splits.val, *splits.test]) == list(range(4000))


@given(split_seeds)
def test_rows_that_share_a_target_stay_together(split_seed: int) -> None:
    pairs = make_pairs(repeated(sample_arrays(rows=300), 3), "sample")
    splits = split_rows(pairs, split_seed)
    train, val, test = (set(pairs.ids[rows].tolist()) for rows in (splits.train, splits.val, splits.test))
    assert not train & val
    assert not train & test
    assert not val & test


class TestTheTestSplit:
    @given(split_seeds)
    def test_is_the_same_whatever_the_seed(self, split_seed: int) -> None:
        assert split_rows(PAIRS, split_seed).test.tolist() == split_rows(PAIRS, 0).test.tolist()

    def test_is_the_same_when_rows_are_appended(self) -> None:
        more = make_pairs({name: np.concatenate([a, a[:500] + 1]) for name, a in sample_arrays(rows=4000).items()}, "x")
        grown = split_rows(more, 0).test
        assert grown[grown < 4000].tolist() == split_rows(PAIRS, 0).test.tolist()

    def test_follows_its_targets_when_rows_change_places(self) -> None:
        moved = make_pairs({name: array[::-1] for name, array in sample_arrays(rows=4000).items()}, "x")
        assert sorted(3999 - split_rows(moved, 0).test) == split_rows(PAIRS, 0).test.tolist()

    def test_is_untouched_by_training_on_validation_rows(self) -> None:
        assert split_rows(PAIRS, 0, train_on_val=True).test.tolist() == split_rows(PAIRS, 0).test.tolist()


class TestTheSeed:
    def test_moves_rows_between_train_and_validation(self) -> None:
        first, second = split_rows(PAIRS, 0), split_rows(PAIRS, 1)
        assert len(set(first.val) & set(second.val)) < 0.5 * len(first.val)

    def test_gives_the_same_splits_every_time(self) -> None:
        first, again = split_rows(PAIRS, 5), split_rows(PAIRS, 5)
        assert first.train.tolist() == again.train.tolist()
        assert first.val.tolist() == again.val.tolist()

    def test_puts_validation_rows_into_a_random_order(self) -> None:
        val = split_rows(PAIRS, 0).val.tolist()
        assert val != sorted(val)


def test_training_on_validation_rows_leaves_none_to_validate_on() -> None:
    apart, together = split_rows(PAIRS, 0), split_rows(PAIRS, 0, train_on_val=True)
    assert len(together.val) == 0
    assert sorted([*apart.train, *apart.val]) == together.train.tolist()


class TestGivenSplits:
    NAMES = np.array(["train", "test", "val", "train", "val", "train"])

    def test_are_kept_whatever_the_seed(self) -> None:
        pairs = make_pairs({**sample_arrays(rows=6), "split": self.NAMES}, "x")
        for split_seed in range(5):
            splits = split_rows(pairs, split_seed)
            assert splits.train.tolist() == [0, 3, 5]
            assert sorted(splits.val) == [2, 4]
            assert splits.test.tolist() == [1]

    @pytest.mark.parametrize(("missing", "code"), [("train", 0), ("val", 1)])
    def test_without_a_needed_split_are_refused(self, missing: str, code: int) -> None:
        pairs = make_pairs({**sample_arrays(rows=6), "split": self.NAMES}, "x")
        assert pairs.split is not None
        pairs = replace(pairs, split=np.where(pairs.split == code, 2, pairs.split).astype(np.int8))
        assert refusal(split_rows, pairs, 0) == f"x: the {missing} split has no rows, of 6 in all"

    def test_need_no_validation_rows_when_all_are_trained_on(self) -> None:
        pairs = make_pairs({**sample_arrays(rows=6), "split": np.array(["train"] * 6)}, "x")
        assert split_rows(pairs, 0, train_on_val=True).train.tolist() == list(range(6))


def test_too_few_ids_for_a_validation_split_are_refused() -> None:
    pairs = make_pairs({"inputs": np.ones((8, 2)), "targets": np.ones((8, 2))}, "x")
    assert "split has no rows, of 8 in all" in refusal(split_rows, pairs, 0)
