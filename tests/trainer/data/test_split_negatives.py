"""Negatives that the data gives: what of them may be used in training, and that they come with their rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.split_negatives import SplitNegatives, split_negatives
from tests.trainer.samples import Arrays, sample_arrays

CPU = torch.device("cpu")
ROWS = 10
TRAIN = np.array([0, 1, 2, 3, 4, 5])


def pairs_of(negatives: Any, **arrays: Any) -> Pairs:
    """Rows 0 and 1 have one input, rows 2 and 3 one target; rows 6 and 7 are of validation, 8 and 9 of test."""
    given: Arrays = sample_arrays(rows=ROWS, dims=4)
    given["inputs"][1], given["targets"][3] = given["inputs"][0], given["targets"][2]
    ids, split = np.array([0, 1, 2, 2, 4, 5, 6, 7, 8, 9]), np.repeat([0, 1, 2], [6, 2, 2])
    given = {**given, "ids": ids, "split": split, **arrays}
    given["negatives"] = negatives(given["targets"]) if callable(negatives) else np.array(negatives)
    return make_pairs(given, "x", DataRules("inputs"))


def of_train(pairs: Pairs) -> SplitNegatives:
    found = split_negatives(pairs, TRAIN, CPU)
    assert found is not None
    return found


BY_ID = [[4, 5], [0, 2], [2, 5], [4, 2], [6, 8], [9, 0], [0, 1], [0, 1], [0, 1], [0, 1]]
USABLE = [[True, True], [False, True], [False, True], [True, False], [False, False], [False, True]]
"""Row 1's input has target 0 as well; 2 is the target of rows 2 and 3; 6, 8 and 9 are of other splits."""


def test_right_ones_and_those_of_other_splits_are_left_out() -> None:
    pairs = pairs_of(BY_ID)
    found = of_train(pairs)
    assert found.usable.tolist() == USABLE
    targets = torch.from_numpy(pairs.targets[TRAIN])
    rows = torch.tensor([5, 0, 3])
    vectors = found.of(rows, targets)
    for row, own, usable in zip(rows.tolist(), vectors, found.usable[rows], strict=True):
        for identity, vector, there in zip(BY_ID[row], own, usable, strict=True):
            if there:
                assert torch.equal(vector, torch.from_numpy(pairs.targets[[identity]])[0])


def test_as_vectors_the_same_are_left_out_and_new_ones_and_none_are_told_apart() -> None:
    found = of_train(pairs_of(lambda targets: targets[np.array(BY_ID)]))
    assert found.usable.tolist() == USABLE

    def some(targets: Any) -> Any:
        vectors = targets[np.array(BY_ID)]
        vectors[4, 0], vectors[0, 1] = 1, 0
        return vectors

    pairs = pairs_of(some)
    found = of_train(pairs)
    assert found.usable.tolist() == [[True, False], *USABLE[1:4], [True, False], USABLE[5]]
    assert pairs.negatives is not None
    assert pairs.negatives.vectors is not None
    rows = torch.tensor([4, 2])
    expected = torch.from_numpy(pairs.negatives.vectors[TRAIN[rows.numpy()]])
    assert torch.equal(found.of(rows, torch.empty(0)), expected)


def test_where_only_the_own_target_is_right_another_of_the_input_s_is_a_negative() -> None:
    given = pairs_of(BY_ID)
    assert given.queries is not None
    own = make_pairs(
        {
            **{name: getattr(given, name) for name in ("inputs", "targets", "ids", "split")},
            "negatives": np.array(BY_ID),
        },
        "x",
        DataRules("inputs", "own"),
    )
    assert of_train(own).usable.tolist() == [USABLE[0], [True, True], *USABLE[2:]]


def test_where_all_are_right_none_is_usable() -> None:
    assert not of_train(pairs_of(np.array([0, 1, 2, 2, 4, 5, 6, 7, 8, 9])[:, None])).usable.any()


def test_without_an_array_there_are_none() -> None:
    assert split_negatives(make_pairs(sample_arrays(), "x"), TRAIN, CPU) is None


@pytest.mark.parametrize("places", [[0, 1], [3]])
def test_vectors_on_disk_are_read_as_they_are_used(places: list[int], tmp_path: Path) -> None:
    arrays = sample_arrays(rows=20, dims=4)
    arrays["negatives"] = np.random.default_rng(0).normal(size=(20, 3, 4)).astype(np.float32)
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    rows = np.arange(3, 11)
    found = split_negatives(load_pairs(str(tmp_path), "negatives=negatives"), rows, CPU)
    assert found is not None
    assert torch.equal(
        found.of(torch.tensor(places), torch.empty(0)), torch.from_numpy(arrays["negatives"][rows[places]])
    )
