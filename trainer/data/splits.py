"""Train, validation and test rows: 60/20/20 by target identity, or by what ties more rows together.

The test split depends on the ids, or groups, alone, never on a seed: a target that is in the test split stays there
whatever else is in the file. The seed moves targets between train and validation only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.eval_queries import EvalQueries
from losstune.trainer.data.pair_checks import ids_by_content
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.remedies import FEWER_TIES, MORE_ROWS, MORE_TARGETS, another

TEST_SHARE = 0.2
VAL_SHARE = 0.2
_TEST_SALT = 2**63 + 0x7E57  # no split_seed reaches it: the two draws stay independent
_QUERY_SALT = 2**63 + 0x9E57  # nor this one
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Row numbers of each split, (n,) int64 each. Validation rows come in a fixed random order."""

    train: Rows
    val: Rows
    test: Rows


def split_rows(pairs: Pairs, split_seed: int, *, train_on_val: bool = False) -> Splits:
    """Split by id or block, or as the data's own ``split`` array says.

    One without validation rows leaves these to a quarter of the ids of its training rows, drawn as if there were none.

    Args:
        split_seed: moves ids between train and validation.
        train_on_val: add the validation rows to the training rows and leave validation empty.

    Raises:
        UserError: a split that is needed has no rows.
    """
    codes = row_codes(pairs, split_seed)
    train, val, test = (np.flatnonzero(codes == code) for code in range(3))
    if train_on_val:
        train, val = np.flatnonzero(codes != 2), val[:0]
    elif len(val) == 0:
        raise UserError(_empty("val", pairs))
    if len(train) == 0:
        raise UserError(_empty("train", pairs))
    order = np.random.default_rng(split_seed).permutation(len(val))
    return Splits(train, val[order], test)


def _empty(split: str, pairs: Pairs) -> str:
    rows, labels = len(pairs.ids), len(np.unique(pairs.split_labels))
    found = f"{pairs.source}: the {split} split has no rows, of {rows} in all"
    if pairs.blocks is not None and pairs.split is None:
        return f"{found}, in blocks that stay together: {labels:,}{FEWER_TIES}"
    if labels == rows:
        return f"{found}{MORE_ROWS}"
    if labels == 1:
        return f"{found}, which all have one target{another('targets')}"
    by_content = ids_by_content(pairs.targets[:1])[0] == pairs.ids[0]
    named = "numpy.float32(targets), axis=0" if by_content else "ids"
    return f"{found}, which have {labels:,} distinct targets, each in one split{MORE_TARGETS.format(labels, named)}"


def row_codes(pairs: Pairs, split_seed: int) -> npt.NDArray[np.int8]:
    """The split of each row, (N,): 0 train, 1 validation, 2 test."""
    labels = pairs.split_labels
    if pairs.split is None:
        return _codes_by_label(labels, split_seed)
    if pairs.fixes_validation:
        return pairs.split
    return np.where((pairs.split == 0) & _drawn_for_val(labels, split_seed), 1, pairs.split).astype(np.int8)


def query_rows(rows: Rows, queries: EvalQueries) -> Rows:
    """The rows of a split (n,) that are scored: all, or a random sample of ``queries``, in the split's order.

    Drawn by a hash of the row's number alone: rows that two splits share are in both samples or in neither, but for
    a few at the margin, whatever the loss and the seed. A mean over the sample is an unbiased estimate of that over
    the split.
    """
    if queries == "all" or len(rows) <= queries:
        return rows
    drawn = np.argpartition(_hash(rows, _QUERY_SALT), queries)[:queries]
    return rows[np.sort(drawn)]


def _codes_by_label(labels: npt.NDArray[np.int64], split_seed: int) -> npt.NDArray[np.int8]:
    codes = np.zeros(len(labels), dtype=np.int8)
    codes[_drawn_for_val(labels, split_seed)] = 1
    codes[_uniform(labels, _TEST_SALT) < TEST_SHARE] = 2
    return codes


def _drawn_for_val(labels: npt.NDArray[np.int64], split_seed: int) -> npt.NDArray[np.bool_]:
    return _uniform(labels, split_seed) < VAL_SHARE / (1 - TEST_SHARE)


def _uniform(labels: npt.NDArray[np.int64], salt: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each label."""
    return _hash(labels, salt).astype(np.float64) / 2.0**64


def _hash(numbers: npt.NDArray[np.int64], salt: int) -> npt.NDArray[np.uint64]:
    """Two rounds of SplitMix64's finaliser (Steele et al., 2014), which maps no two numbers to one."""
    salted = np.uint64((salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    return _mix(_mix(numbers.astype(np.uint64)) ^ salted)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
