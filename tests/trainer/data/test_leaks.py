"""What is said of data that leaks: with the counts of plain loops, and nothing of data that does not."""

import numpy as np
import pytest

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data.leaks import findings
from losstune.trainer.data.npy import Array
from losstune.trainer.data.pairs import load_pairs, make_pairs
from losstune.trainer.data.splits import row_codes

RANDOM = np.random.default_rng(3)


def normal(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def said(arrays: dict[str, Array], rules: DataRules = DataRules()) -> dict[str, tuple[int, str]]:  # noqa: B008
    return {f.name: (f.count, f.text) for f in findings(make_pairs(arrays, "x", rules), split_seed=0)}


def noisy_copies() -> dict[str, Array]:
    """Ten noisy copies of 30 inputs and their targets."""
    group = np.arange(300) // 10
    inputs, targets = normal(30, 12)[group], normal(30, 6)[group]
    return {"inputs": inputs + normal(300, 12) * 0.01, "targets": targets + normal(300, 6) * 0.01, "groups": group}


def two_targets_each() -> dict[str, Array]:
    inputs = normal(1000, 12)
    return {"inputs": np.concatenate([inputs, inputs]), "targets": normal(2000, 6)}


def test_noisy_copies_are_told_with_how_many_rows_have_one_in_train() -> None:
    arrays = noisy_copies()
    group = arrays.pop("groups")
    codes = row_codes(make_pairs(arrays, "x"), 0)
    trained = set(group[codes == 0].tolist())
    test, val = (int(sum(g in trained for g in group[codes == code])) for code in (2, 1))
    assert test > 50
    found = said(arrays)
    assert found.keys() == {"near_inputs", "near_targets"}
    assert found["near_inputs"] == (
        test + val,
        f"at least {test} of {(codes == 2).sum()} test rows and {val} of {(codes == 1).sum()} val rows have nearly the "
        "inputs of a row of train: copies make scores better than on new data; give an array groups, which keeps a "
        "group in one split",
    )
    assert "nearly the targets of a row of train" in found["near_targets"][1]


def test_groups_leave_nothing_to_tell() -> None:
    assert said(noisy_copies()) == {}


def test_equal_inputs_are_counted_across_splits() -> None:
    arrays = two_targets_each()
    codes = row_codes(make_pairs(arrays, "x"), 0)
    other = np.roll(codes, 1000)
    test, val = (int(((codes == code) & (other == 0)).sum()) for code in (2, 1))
    found = said(arrays)
    assert found["equal_inputs"][0] == test + val
    assert found["equal_inputs"][1].startswith(f"{test} of {(codes == 2).sum()} test rows and {val} of")
    assert found["inputs_of_several_targets"] == (
        1000,
        "1,000 inputs have several targets: each of them counts as right",
    )


def test_split_by_inputs_leaves_several_targets_alone_to_tell() -> None:
    assert said(two_targets_each(), DataRules("inputs")).keys() == {"inputs_of_several_targets"}


def test_a_study_of_before_says_what_counts_as_right_in_it() -> None:
    text = said(two_targets_each(), DataRules("ids", "own"))["inputs_of_several_targets"][1]
    assert text.endswith("only a row's own counts as right; --answers any counts each of them, in a new study or run")


def test_scaled_copies_of_targets_are_told() -> None:
    targets = normal(500, 6)
    found = said({"inputs": normal(1000, 12), "targets": np.concatenate([targets, 3 * targets])})
    assert found.keys() == {"equal_directions"}
    assert found["equal_directions"][0] == 1000
    assert "scale targets to length one" in found["equal_directions"][1]


def test_equal_targets_under_two_ids_are_told() -> None:
    targets = normal(200, 6)
    targets[100] = targets[3]
    found = said({"inputs": normal(200, 12), "targets": targets, "ids": np.arange(200)})
    assert found["equal_targets"] == (
        1,
        "1 row has an earlier row's target under another id, which none can tell apart: give equal targets one id, or "
        "leave ids out",
    )


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (np.ones((300, 12), np.float32), {"constant_columns_of_inputs", "constant_rows_of_inputs"}),
        (np.tile(normal(1, 12), (300, 1)), {"constant_columns_of_inputs"}),
        (np.repeat(normal(300, 1), 12, axis=1), {"constant_rows_of_inputs"}),
    ],
)
def test_inputs_that_say_nothing_are_told(inputs: Array, names: set[str]) -> None:
    assert said({"inputs": inputs, "targets": normal(300, 6)}).keys() == names


def test_nothing_is_said_of_digits_whose_margins_are_blank() -> None:
    pairs = load_pairs("digits")
    assert pairs.inputs_alike is not None
    assert pairs.inputs_alike.constant_columns > 0
    assert findings(pairs, 0) == []
