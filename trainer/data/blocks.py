"""Rows that belong together: what ties them for the split, and inputs with several targets."""

import numpy as np
import numpy.typing as npt

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data.likeness import Labels, first_of, joined
from losstune.trainer.data.pair_checks import refuse_divided


def checked_blocks(
    ids: Labels,
    groups: Labels | None,
    equal_inputs: Labels | None,
    split: npt.NDArray[np.int8] | None,
    rules: DataRules,
    source: str,
) -> Labels | None:
    """What rows are split by, (N,); an error where the data's own split divides it."""
    blocks = _blocks(ids, groups, equal_inputs if rules.split_by == "inputs" else None)
    if split is not None and blocks is not None:
        way = "mend split, or leave it to losstune; --split-by ids takes it as it is"
        refuse_divided(split, blocks, f"{source}: split", f"--split-by {rules.split_by} keeps together", way)
    return blocks


def _blocks(ids: Labels, groups: Labels | None, equal_inputs: Labels | None) -> Labels | None:
    """What rows are split by, (N,), where groups or equal inputs tie more together than ids.

    A block has the name of its lowest group, or else of its lowest id: so it stays in its split when rows are added.
    """
    if groups is None and equal_inputs is None:
        return None
    ties = [first_of(labels) for labels in (ids, groups) if labels is not None]
    every = np.arange(len(ids))
    pairs = np.concatenate([np.stack([every, tie], axis=1) for tie in ties])
    blocks = joined(len(ids), pairs, equal_inputs)
    names = ids if groups is None else groups
    lowest = np.full(int(blocks.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, blocks, names)
    return lowest[blocks]


def shared_queries(ids: Labels, equal_inputs: Labels | None) -> Labels | None:
    """The identity of each input, (N,), if an input has several targets."""
    if equal_inputs is None:
        return None
    several = targets_of_inputs(ids, equal_inputs)[1]
    return equal_inputs if (several > 1).any() else None


def targets_of_inputs(ids: Labels, equal_inputs: Labels) -> tuple[Labels, Labels]:
    """The inputs that stand in several rows, by label, and how many targets each has."""
    again = np.flatnonzero(np.bincount(equal_inputs)[equal_inputs] > 1)
    distinct = np.unique(np.stack([equal_inputs[again], ids[again]], axis=1), axis=0)
    return np.unique(distinct[:, 0], return_counts=True)
