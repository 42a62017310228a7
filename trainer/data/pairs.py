"""Pairs of inputs and targets: where they come from, and what they are once they are checked."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.config.data_rules import BEFORE, NEW_RULES, DataRules
from losstune.trainer.data.blocks import checked_blocks, shared_queries
from losstune.trainer.data.column_names import ROLES, ColumnNames, Columns, listed
from losstune.trainer.data.labels import SPLIT_NAMES, whole_ids
from losstune.trainer.data.likeness import Labels, Likeness, Sketch
from losstune.trainer.data.negatives import Negatives, negatives_of
from losstune.trainer.data.npy import Array, MappedArray, Rows
from losstune.trainer.data.pair_checks import (
    check_forms,
    check_inputs,
    check_targets,
    checked_ids,
    checked_split,
    pieces,
    row_bytes,
    typed_inputs,
    typed_targets,
)
from losstune.trainer.data.sources import Source, find_arrays


@dataclass(frozen=True)
class Pairs:
    """N pairs of an input and a fixed target embedding.

    Inputs and targets are arrays in memory, or stay on disk and are read by index; pickled, those are handles.

    Attributes:
        source: what ``--data`` said, files as absolute paths.
        inputs: (N, …) float32, uint8 or int64; in memory integers take no more bytes than they were given in.
        targets: (N, d) float32, finite, no zero row.
        ids: (N,) int64, identity of the target; rows that share one share the target.
        blocks: (N,) int64, what rows are split by where that is more than ids: all of one are in one split.
        queries: (N,) int64, identity of the input, where an input has several targets and each is right; else None.
        split: (N,) int8 index into ``SPLIT_NAMES`` where the data fixes the split, else None.
        digest: SHA-256 of inputs, targets, ids, split, groups and negatives, hexadecimal; the same wherever these lie.
        columns: what ``--columns`` said.
        unused: names of what else the source has.
        rules: how rows are split, and which targets are right.
        inputs_alike, targets_alike: what is equal and nearly so.
        negatives: those that the data gives to its rows, where ``--columns`` says which column has them.
    """

    source: str
    inputs: Rows
    targets: Rows
    ids: npt.NDArray[np.int64]
    split: npt.NDArray[np.int8] | None
    digest: str
    columns: str | None = None
    unused: tuple[str, ...] = ()
    blocks: Labels | None = None
    queries: Labels | None = None
    rules: DataRules = BEFORE
    inputs_alike: Likeness | None = None
    targets_alike: Likeness | None = None
    negatives: Negatives | None = None

    @property
    def split_labels(self) -> Labels:
        """(N,) what rows are split by: those of one label are in one split."""
        return self.ids if self.blocks is None else self.blocks

    @property
    def fixes_validation(self) -> bool:
        """Whether the data says which rows are validated on; else they are drawn by id and seed."""
        return self.split is not None and bool((self.split == SPLIT_NAMES.index("val")).any())

    @property
    def bytes_in_memory(self) -> int:
        """What a copy of these pairs takes: arrays that stay on disk take nothing."""
        given = () if self.negatives is None else (self.negatives.rows, self.negatives.vectors)
        arrays = (self.inputs, self.targets, self.ids, self.split, self.blocks, self.queries, *given)
        return sum(array.nbytes for array in arrays if array is not None and not isinstance(array, MappedArray))


def load_pairs(source: Source, columns: Columns = None, rules: DataRules = NEW_RULES) -> Pairs:
    """Load and check pairs from ``digits``, a file, a folder, ``package.module:function``, or arrays by name.

    A check of more than two seconds shows how far it is, on a terminal.

    Args:
        columns: what is named otherwise than its role, as ``inputs=anchor,targets=positive`` or names by role.
        rules: those of a study or of a run, once it has some.

    Raises:
        UserError: naming the file, the array and the row, and what is allowed.
    """
    names = ColumnNames.of(columns)
    roles = tuple(role for role in ROLES if role != "groups") if rules.split_by == "ids" else ROLES
    found = find_arrays(source, names, roles)
    if rules.split_by == "groups" and "groups" not in found.arrays:
        names_found = listed([*found.arrays, *found.unused])
        raise UserError(
            f"{found.source}: no array 'groups', which --split-by groups needs; found {names_found}; "
            "if it has another name: --columns groups=NAME"
        )
    return replace(make_pairs(found.arrays, found.source, rules), columns=str(names) or None, unused=found.unused)


def load_inputs(source: str, columns: Columns = None) -> Rows:
    """Only the inputs of ``source``, checked; targets may be absent, or anything."""
    found = find_arrays(source, ColumnNames.of(columns), ("inputs",))
    inputs = typed_inputs(found.arrays["inputs"], found.source)
    with shown_if_long(f"Checking {found.source}", len(inputs)) as advance:
        check_inputs(_passing(inputs, lambda piece: advance(len(piece))), found.source)
    return inputs


def load_targets(source: str, columns: Columns = None) -> Rows:
    """Only the targets of ``source``, checked; inputs may be absent, or anything."""
    found = find_arrays(source, ColumnNames.of(columns), ("targets",))
    targets = typed_targets(found.arrays["targets"], found.source)
    with shown_if_long(f"Checking {found.source}", len(targets)) as advance:
        check_targets(_passing(targets, lambda piece: advance(len(piece))), found.source, identify=False)
    return targets


def make_pairs(arrays: Mapping[str, Rows], source: str, rules: DataRules = NEW_RULES) -> Pairs:
    """Check raw arrays by role: ``inputs``, ``targets`` and, optionally, the others."""
    check_forms(arrays["inputs"], arrays["targets"], source)
    targets, inputs = typed_targets(arrays["targets"], source), typed_inputs(arrays["inputs"], source)
    digest = hashlib.sha256()
    seen = _pass_over(inputs, targets, digest, source, identify="ids" not in arrays)
    ids = checked_ids(np.asarray(arrays["ids"]), targets, source) if "ids" in arrays else seen.ids
    split = checked_split(np.asarray(arrays["split"]), ids, source) if "split" in arrays else None
    groups = None
    if "groups" in arrays and rules.split_by != "ids":
        groups = whole_ids(np.asarray(arrays["groups"]), len(inputs), source, "groups")
    for array in (ids, split, groups):
        if array is not None:
            _begin(digest, array)
            digest.update(array.data)
    negatives = _negatives(arrays, targets, ids, digest, source) if "negatives" in arrays else None
    rules = replace(rules, split_by=rules.split_by or ("ids" if groups is None else "groups"))
    equal_inputs = seen.inputs.equal
    return Pairs(
        source,
        inputs,
        targets,
        ids,
        split,
        digest.hexdigest(),
        blocks=checked_blocks(ids, groups, equal_inputs, split, rules, source),
        queries=shared_queries(ids, equal_inputs) if rules.answers == "any" else None,
        rules=rules,
        inputs_alike=seen.inputs,
        targets_alike=seen.targets,
        negatives=negatives,
    )


class _Seen(NamedTuple):
    """What one pass over inputs and targets tells: the ids of targets by content, and what of both is alike."""

    ids: Labels
    inputs: Likeness
    targets: Likeness


def _pass_over(inputs: Rows, targets: Rows, digest: "hashlib._Hash", source: str, *, identify: bool) -> _Seen:
    """Check both and add them to the digest; ids are by content only where ``identify``."""
    of_inputs, of_targets = Sketch(inputs), Sketch(targets, directions=True)
    total = len(inputs) * (row_bytes(inputs) + row_bytes(targets))
    with shown_if_long(f"Checking {source}", total) as advance:

        def passed(sketch: Sketch, piece: Array) -> None:
            digest.update(piece.data)
            sketch.add(piece)
            advance(piece.nbytes)

        _begin(digest, inputs)
        check_inputs(_passing(inputs, partial(passed, of_inputs)), source)
        _begin(digest, targets)
        ids = check_targets(_passing(targets, partial(passed, of_targets)), source, identify=identify)
    return _Seen(ids, of_inputs.likeness(), of_targets.likeness())


def _negatives(
    arrays: Mapping[str, Rows], targets: Rows, ids: Labels, digest: "hashlib._Hash", source: str
) -> Negatives:
    """Check those of rows' own, and add them to the digest."""
    digest.update(f"negatives{arrays['negatives'].shape}".encode())
    return negatives_of(
        arrays["negatives"],
        targets,
        ids,
        source,
        named="ids" in arrays,
        passed=lambda piece: digest.update(np.ascontiguousarray(piece).data),
    )


def _begin(digest: "hashlib._Hash", array: Rows) -> None:
    digest.update(f"{array.dtype}{array.shape}".encode())


def _passing(rows: Rows, passed: Callable[[Array], None]) -> Iterator[tuple[int, Array]]:
    """All rows in pieces, each handed to ``passed`` as well."""
    for start, piece in pieces(rows):
        passed(piece)
        yield start, piece
