"""Splits: their shares, what they depend on, and what they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.remedies import MORE_ROWS
from losstune.trainer.data.splits import Splits, query_rows, split_rows
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

    @pytest.mark.parametrize(("missing", "others"), [("train", ["val", "test"]), ("val", ["test"])])
    def test_without_a_needed_split_are_refused(self, missing: str, others: list[str]) -> None:
        pairs = make_pairs({**sample_arrays(rows=6), "split": np.resize(others, 6)}, "x")
        assert refusal(split_rows, pairs, 0) == f"x: the {missing} split has no rows, of 6 in all{MORE_ROWS}"

    def test_without_validation_rows_draw_them_from_the_ids_that_are_trained_on(self) -> None:
        arrays = {**sample_arrays(rows=2000), "ids": np.arange(2000) % 1500}
        arrays["targets"] = arrays["targets"][arrays["ids"]]
        pairs = make_pairs({**arrays, "split": np.where(arrays["ids"] % 10 < 8, "train", "test")}, "x")
        assert not pairs.fixes_validation
        splits, other = split_rows(pairs, 0), split_rows(pairs, 1)
        assert splits.test.tolist() == other.test.tolist() == np.flatnonzero(arrays["ids"] % 10 >= 8).tolist()
        assert set(splits.val) != set(other.val)
        assert sorted([*splits.train, *splits.val, *splits.test]) == list(range(2000))
        assert len(splits.val) / 1600 == pytest.approx(0.25, abs=0.04)
        assert not set(arrays["ids"][splits.val]) & set(arrays["ids"][splits.train])
        by_id = set(split_rows(make_pairs(arrays, "x"), 0).val)
        assert by_id & {*splits.train, *splits.val} <= set(splits.val), "an id is drawn as it is without a split"

    def test_need_no_validation_rows_when_all_are_trained_on(self) -> None:
        pairs = make_pairs({**sample_arrays(rows=6), "split": np.array(["train"] * 6)}, "x")
        assert split_rows(pairs, 0, train_on_val=True).train.tolist() == list(range(6))


def test_too_few_ids_for_a_validation_split_are_refused() -> None:
    pairs = make_pairs({"inputs": np.ones((8, 2)), "targets": np.ones((8, 2))}, "x")
    message = "split has no rows, of 8 in all, which all have one target: another column may be meant, --columns "
    assert f"{message}targets=NAME" in refusal(split_rows, pairs, 0)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("prototypes", [2, 3, 4])
def test_few_distinct_targets_are_counted_and_the_line_that_splits_them_works(prototypes: int, named: bool) -> None:
    """More rows would not help, and a split of rows in turn would divide a target."""
    arrays = sample_arrays(rows=400)
    which = np.arange(400) % prototypes
    arrays["targets"] = arrays["targets"][which]
    if named:
        arrays["ids"] = np.array(["cat", "dog", "eel", "fox"])[which]
        arrays["targets"] = arrays["targets"] * (1 + 1e-4 * np.arange(400)[:, None] / 400)  # equal up to rounding
    seed = next(seed for seed in range(99) if not is_split(arrays, seed))
    message = refusal(split_rows, make_pairs(arrays, "x"), seed)
    assert f"split has no rows, of 400 in all, which have {prototypes} distinct targets, each in one split; " in message
    arrays["split"] = eval(message.partition("a column split: ")[2], {"numpy": np, **arrays})
    splits = split_rows(make_pairs(arrays, "x"), seed)
    assert min(len(splits.train), len(splits.val)) >= 400 // prototypes


def is_split(arrays: Arrays, seed: int) -> bool:
    try:
        split_rows(make_pairs(arrays, "x"), seed)
    except UserError:
        return False
    return True


class TestQueryRows:
    """Of 40,000 rows about 8,000 are for validation."""

    ROWS = np.arange(40_000)
    VAL = split_rows(make_pairs(sample_arrays(rows=40_000, width=1, dims=2), "sample"), 0).val

    def test_are_as_many_as_asked_for_of_the_split_in_its_order(self) -> None:
        drawn = query_rows(self.VAL, 1024).tolist()
        assert len(drawn) == len(set(drawn)) == 1024
        assert drawn == [row for row in self.VAL.tolist() if row in set(drawn)]

    @pytest.mark.parametrize("queries", ["all", 40_000, 50_000])
    def test_are_all_where_there_are_no_more(self, queries: int | str) -> None:
        assert query_rows(self.ROWS, queries).tolist() == self.ROWS.tolist()  # type: ignore[arg-type]

    def test_do_not_depend_on_the_order_of_the_split(self) -> None:
        assert sorted(query_rows(self.VAL[::-1], 1500)) == sorted(query_rows(self.VAL, 1500))

    def test_of_more_rows_hold_those_of_fewer(self) -> None:
        assert set(query_rows(self.VAL, 1000)) < set(query_rows(self.VAL, 3000))

    def test_of_two_splits_are_the_same_among_the_rows_that_both_have(self) -> None:
        """But for the margin: each sample takes the rows under a limit of its own, and these hardly differ."""
        one, other = self.ROWS[:30_000], self.ROWS[10_000:]
        drawn, others = (set(query_rows(rows, 3000).tolist()) for rows in (one, other))
        both = range(10_000, 30_000)
        assert len(drawn.intersection(both) ^ others.intersection(both)) < 0.1 * 2000

    def test_are_those_of_every_machine_and_version(self) -> None:
        """By SplitMix64 in Python's own integers."""

        def mix(x: int) -> int:
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
            return x ^ (x >> 31)

        salt = ((2**63 + 0x9E57) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64
        lowest = sorted(self.ROWS.tolist(), key=lambda row: mix(mix(row) ^ salt))[:1024]
        assert query_rows(self.ROWS, 1024).tolist() == sorted(lowest)

    def test_say_nothing_of_the_split_that_a_row_is_in(self) -> None:
        """Where ids are the rows' own numbers, both draws hash the same numbers."""
        pairs = make_pairs({**sample_arrays(rows=40_000, width=1, dims=2), "ids": self.ROWS}, "sample")
        drawn = query_rows(self.ROWS, 8000)
        share = np.isin(split_rows(pairs, 0).val, drawn).mean()
        assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 8000))

    def test_estimate_a_mean_without_bias(self) -> None:
        """Whatever the rows' values follow, as here their place in the file, a sample's mean is within chance."""
        for values in (self.ROWS, np.sin(self.ROWS / 100), self.ROWS % 7):
            mean = values[query_rows(self.ROWS, 4000)].mean()
            assert abs(mean - values.mean()) < 4 * values.std() / np.sqrt(4000)
