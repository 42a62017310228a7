"""Which targets are right for an input of several: against plain sets of pairs."""

import numpy as np
import pytest
import torch

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data.answers import Answers, RightOfBatch
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.data.resident import split_tensors, train_split

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(5)


def many_to_many(answers: str = "any") -> Pairs:
    """200 rows of 60 inputs and 40 targets, paired at random: some inputs have one target, some have several."""
    inputs, targets = RANDOM.normal(size=(60, 5)), RANDOM.normal(size=(40, 3)).astype(np.float32)
    of_input, ids = RANDOM.integers(0, 60, 200), RANDOM.integers(0, 40, 200)
    arrays = {"inputs": inputs[of_input].astype(np.float32), "targets": targets[ids], "ids": ids}
    return make_pairs(arrays, "x", DataRules("ids", answers))  # type: ignore[arg-type]


def right_by_sets(pairs: Pairs, rows: np.ndarray) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = {}
    for row in rows:
        found.setdefault(np.asarray(pairs.inputs[row]).tobytes(), set()).add(int(pairs.ids[row]))
    return found


@pytest.mark.parametrize("rows", [np.arange(200), np.arange(0, 200, 3)])
def test_a_batch_knows_each_target_that_is_right_for_an_input_of_several(rows: np.ndarray) -> None:
    pairs = many_to_many()
    answers = Answers.of(pairs, rows, CPU)
    assert answers is not None
    assert pairs.queries is not None
    right = right_by_sets(pairs, rows)
    batch, ids = np.arange(0, 200, 2), torch.from_numpy(pairs.ids[::5].copy())
    found = RightOfBatch(answers, torch.from_numpy(pairs.queries[batch])).among(ids)
    for row, line in zip(batch, found.tolist(), strict=True):
        own = right.get(np.asarray(pairs.inputs[row]).tobytes(), set())
        assert line == [len(own) > 1 and identity in own for identity in ids.tolist()]


def test_a_split_has_the_places_of_what_is_right_beside_a_rows_own() -> None:
    pairs = many_to_many()
    rows = np.arange(0, 200, 2)
    split = split_tensors(pairs, rows, CPU, rows[::3])
    right, distinct = right_by_sets(pairs, rows), sorted(set(pairs.ids[rows].tolist()))
    expected = [
        (place, distinct.index(identity))
        for place, row in enumerate(rows[::3])
        for identity in sorted(right[np.asarray(pairs.inputs[row]).tobytes()] - {int(pairs.ids[row])})
    ]
    assert split.others is not None
    assert list(zip(split.others.queries.tolist(), split.others.places.tolist(), strict=True)) == expected


def test_pieces_of_a_batch_are_the_batchs_own() -> None:
    pairs = many_to_many()
    split = split_tensors(pairs, np.arange(200), CPU)
    right = split.right(torch.arange(50))
    assert right is not None
    whole = right.among(split.ids[:50])
    assert torch.equal(torch.cat([part.among(split.ids[:50]) for part in right.split(7)]), whole)


def test_data_without_such_inputs_or_under_the_old_rule_has_none_of_this() -> None:
    arrays = {"inputs": RANDOM.normal(size=(50, 4)), "targets": RANDOM.normal(size=(50, 3))}
    for pairs in (make_pairs(arrays, "x"), many_to_many("own")):
        split = split_tensors(pairs, np.arange(50), CPU)
        assert (pairs.queries, split.answers, split.others, split.right(torch.arange(3))) == (None,) * 4
        assert train_split(pairs, np.arange(50), CPU).right(torch.arange(3)) is None
