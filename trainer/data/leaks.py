"""What in the data makes scores better, or worse, than they should be: said as sentences, with counts across splits."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losstune.trainer.data.blocks import targets_of_inputs
from losstune.trainer.data.likeness import Labels, Likeness, joined
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.splits import row_codes


@dataclass(frozen=True)
class Finding:
    """Something that who trains on the data should know.

    Attributes:
        name: for programs.
        count: of what the sentence begins with.
        text: what it is, and what to do.
    """

    name: str
    count: int
    text: str


def findings(pairs: Pairs, split_seed: int) -> list[Finding]:
    """What there is to say of the data, the worst first; none where all is well.

    Args:
        split_seed: of the split of train and val; the test split has none.
    """
    inputs, targets = pairs.inputs_alike, pairs.targets_alike
    if inputs is None or targets is None:
        return []
    constant = [*_of_constants("inputs", inputs, len(pairs.ids)), *_of_constants("targets", targets, len(pairs.ids))]
    if inputs.constant_columns == inputs.columns:  # all inputs are equal, which is the one thing to say
        return constant
    crossing = _Crossing(pairs, split_seed)
    return [
        *_across_splits(crossing, inputs, targets),
        *_of_answers(pairs, inputs),
        *_of_targets(pairs, targets),
        *constant,
    ]


class _Crossing:
    """Rows that are scored and have their like in train."""

    def __init__(self, pairs: Pairs, split_seed: int) -> None:
        self.codes = row_codes(pairs, split_seed)

    def rows(self, labels: Labels | None) -> npt.NDArray[np.bool_]:
        """Whether (N,) a row of test or val has a label (N,) that a row of train has; without labels none has."""
        if labels is None:
            return np.zeros(len(self.codes), np.bool_)
        return np.asarray(np.isin(labels, np.unique(labels[self.codes == 0])) & (self.codes != 0))

    def said(self, found: npt.NDArray[np.bool_]) -> str:
        """``212 of 350 test rows and 99 of 340 val rows have``."""
        parts = []
        for name, code in (("test", 2), ("val", 1)):
            count, every = int((found & (self.codes == code)).sum()), int((self.codes == code).sum())
            parts += [f"{count:,} of {every:,} {name} rows"] if count else []
        return " and ".join(parts) + " have"


def _across_splits(crossing: _Crossing, inputs: Likeness, targets: Likeness) -> Iterator[Finding]:
    if (found := crossing.rows(inputs.equal)).any():
        way = "scores are better than on new inputs; --split-by inputs keeps equal inputs in one split"
        yield Finding("equal_inputs", int(found.sum()), f"{crossing.said(found)} an input that train has too: {way}")
    way = "copies make scores better than on new data; give an array groups, which keeps a group in one split"
    for name, likeness in (("inputs", inputs), ("targets", targets)):
        if not len(likeness.near):
            continue
        near = crossing.rows(joined(len(crossing.codes), likeness.near, likeness.equal))
        if (found := near & ~crossing.rows(likeness.equal)).any():
            text = f"at least {crossing.said(found)} nearly the {name} of a row of train: {way}"
            yield Finding(f"near_{name}", int(found.sum()), text)


def _of_answers(pairs: Pairs, inputs: Likeness) -> Iterator[Finding]:
    if inputs.equal is None:
        return
    several = int((targets_of_inputs(pairs.ids, inputs.equal)[1] > 1).sum())
    if several:
        rule = {
            "any": "each of them counts as right",
            "own": "only a row's own counts as right; --answers any counts each of them, in a new study or run",
        }[pairs.rules.answers]
        yield Finding("inputs_of_several_targets", several, f"{_counted(several, 'input')} several targets: {rule}")


def _of_targets(pairs: Pairs, targets: Likeness) -> Iterator[Finding]:
    if targets.equal is not None:
        twins = np.flatnonzero(pairs.ids[targets.equal] != pairs.ids)
        if len(twins):
            text = f"{_counted(len(twins), 'row')} an earlier row's target under another id, which none can tell apart"
            yield Finding("equal_targets", len(twins), f"{text}: give equal targets one id, or leave ids out")
    pairs_of = targets.one_direction
    different = np.unique(pairs.ids[pairs_of[pairs.ids[pairs_of[:, 0]] != pairs.ids[pairs_of[:, 1]]]])
    if len(different):
        text = (
            f"at least {len(different):,} targets point the way of another, as scaled copies do, and a cosine can not "
            "tell them apart: scale targets to length one, so that such are one target"
        )
        yield Finding("equal_directions", len(different), text)


def _counted(count: int, noun: str) -> str:
    """``1 row has``, ``1,200 rows have``."""
    return f"1 {noun} has" if count == 1 else f"{count:,} {noun}s have"


def _of_constants(name: str, likeness: Likeness, rows: int) -> Iterator[Finding]:
    columns = likeness.constant_columns
    if 2 * columns >= likeness.columns:
        text = f"{columns:,} of {likeness.columns:,} columns of {name} have one value in all rows"
        yield Finding(f"constant_columns_of_{name}", columns, f"{text}: is that the array that was meant?")
    if likeness.constant_rows:
        text = f"{likeness.constant_rows:,} of {rows:,} rows of {name} hold one number only, repeated"
        yield Finding(
            f"constant_rows_of_{name}", likeness.constant_rows, f"{text}: such are often empty; leave them out"
        )
