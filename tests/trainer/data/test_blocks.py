"""Rows that are tied by more than an id are in one split."""

import numpy as np
import pytest

from losstune.trainer.config.data_rules import BEFORE, DataRules, SplitBy
from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.remedies import FEWER_TIES
from losstune.trainer.data.splits import row_codes, split_rows
from tests.trainer.samples import Arrays, refusal, sample_arrays


def tied(rows: int = 600) -> Arrays:
    """Rows in groups of three, ids that two rows share, and inputs that two others share."""
    arrays, every = sample_arrays(rows=rows), np.arange(rows)
    twin = every - (every % 7 == 1)
    arrays["targets"], arrays["ids"] = arrays["targets"][twin], twin
    arrays["inputs"] = arrays["inputs"][every - 5 * (every % 50 == 49)]
    arrays["groups"] = every // 3 + 10_000
    return arrays


def tied_by_loops(arrays: Arrays, names: tuple[str, ...]) -> list[set[int]]:
    """Rows in sets: each takes in those that share a value with any of its rows."""
    left, found = set(range(len(arrays["ids"]))), []
    keys = {name: [np.asarray(row).tobytes() for row in arrays[name]] for name in names}
    while left:
        block = {left.pop()}
        while True:
            more = {r for r in left if any(keys[n][r] in {keys[n][b] for b in block} for n in names)}
            if not more:
                break
            block |= more
            left -= more
        found.append(block)
    return found


@pytest.mark.parametrize(
    ("split_by", "names"),
    [("groups", ("ids", "groups")), ("inputs", ("ids", "groups", "inputs")), ("ids", ("ids",))],
)
def test_rows_that_anything_ties_are_in_one_split(split_by: SplitBy, names: tuple[str, ...]) -> None:
    arrays = tied(rows=150)
    codes = row_codes(make_pairs(arrays, "x", DataRules(split_by)), 0)
    blocks = tied_by_loops(arrays, names)
    assert all(len(set(codes[list(block)].tolist())) == 1 for block in blocks)
    labels = make_pairs(arrays, "x", DataRules(split_by)).split_labels
    assert len(np.unique(labels)) == len(blocks)


def test_equal_inputs_are_kept_together_also_without_groups_or_ids() -> None:
    arrays = {**sample_arrays(rows=400), "inputs": np.repeat(sample_arrays(rows=100)["inputs"], 4, axis=0)}
    splits = split_rows(make_pairs(arrays, "x", DataRules("inputs")), 0)
    kept = [set((rows // 4).tolist()) for rows in (splits.train, splits.val, splits.test)]
    assert [len(one & other) for one, other in ((kept[0], kept[1]), (kept[0], kept[2]), (kept[1], kept[2]))] == [0] * 3


def test_groups_stay_where_they_are_in_another_order_and_with_more_rows() -> None:
    arrays = tied()
    codes = row_codes(make_pairs(arrays, "x"), 0)
    backwards = row_codes(make_pairs({name: array[::-1] for name, array in arrays.items()}, "x"), 0)
    np.testing.assert_array_equal(backwards, codes[::-1])
    fewer = row_codes(make_pairs({name: array[:420] for name, array in arrays.items()}, "x"), 0)
    np.testing.assert_array_equal(fewer, codes[:420])


def test_no_seed_moves_a_group_into_or_out_of_test() -> None:
    pairs = make_pairs(tied(), "x")
    np.testing.assert_array_equal(split_rows(pairs, 0).test, split_rows(pairs, 7).test)


def test_groups_may_be_text() -> None:
    arrays = tied()
    texts = make_pairs({**arrays, "groups": np.array([f"user {g}" for g in arrays["groups"]])}, "x")
    codes = row_codes(texts, 0)
    assert all(len(set(codes[arrays["groups"] == group].tolist())) == 1 for group in arrays["groups"])


def test_under_the_rule_of_before_groups_are_neither_read_nor_hashed() -> None:
    arrays = tied()
    without = {name: array for name, array in arrays.items() if name != "groups"}
    before = load_pairs(arrays, rules=BEFORE)
    assert before.digest == load_pairs(without, rules=BEFORE).digest == load_pairs(without).digest
    assert before.unused == ("groups",)
    assert load_pairs(arrays).digest != before.digest
    np.testing.assert_array_equal(row_codes(before, 0), row_codes(make_pairs(without, "x"), 0))


def test_what_can_not_be_done_is_said() -> None:
    arrays = sample_arrays(rows=6)
    assert refusal(load_pairs, arrays, rules=DataRules("groups")) == (
        "arrays in memory: no array 'groups', which --split-by groups needs; found inputs, targets; "
        "if it has another name: --columns groups=NAME"
    )
    fixed = {**arrays, "groups": np.zeros(6, int), "split": np.array(["train"] * 3 + ["val"] * 2 + ["test"])}
    assert refusal(make_pairs, fixed, "x") == (
        "x: split puts rows 0 and 3, which --split-by groups keeps together, into train and val; mend split, or "
        "leave it to losstune; --split-by ids takes it as it is"
    )
    one = make_pairs({**sample_arrays(rows=90), "groups": np.zeros(90, int)}, "x")
    message = f"x: the val split has no rows, of 90 in all, in blocks that stay together: 1{FEWER_TIES}"
    assert refusal(split_rows, one, 0) == message
    assert "x: groups has type float64 and shape (6,)" in refusal(make_pairs, {**arrays, "groups": np.ones(6)}, "x")
