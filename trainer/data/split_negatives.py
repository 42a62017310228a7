"""Negatives that the data gives, as training sees them: what may not be used of them is left out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losstune.trainer.data.columns import Column, column
from losstune.trainer.data.negatives import NO_TARGET, NOTHING, first_row
from losstune.trainer.data.pairs import Pairs

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitNegatives:
    """Those of the n rows that are trained on, for one device.

    Attributes:
        usable: (n, k) bool, whether one is there, and is neither right for its row nor a target of another split.
        places: (n, k) int64, training rows whose targets they are, where they were given by id.
        vectors: (n, k, d), where they were given as such.
    """

    usable: Tensor
    places: Tensor
    vectors: Column | None

    def of(self, rows: Tensor, targets: Column) -> Tensor:
        """The vectors (B, k, d) of some rows; ``targets`` (n, d) are those of the split."""
        if self.vectors is not None:
            return self.vectors.index_select(0, rows)
        places = self.places.index_select(0, rows)
        return targets.index_select(0, places.flatten()).view(*places.shape, -1)


def split_negatives(pairs: Pairs, rows: Labels, device: torch.device) -> SplitNegatives | None:
    """Those of some rows (n,) of the data; None where it gives none."""
    given = pairs.negatives
    if given is None:
        return None
    found = given.rows[rows]
    named = pairs.ids[np.maximum(found, 0)]  # means nothing where it is no target
    places = first_row(pairs.ids[rows], named)
    barred = (places == NO_TARGET) | _right(pairs, rows, named)
    usable = (found != NOTHING) & ~((found >= 0) & barred)
    return SplitNegatives(
        torch.from_numpy(usable).to(device),
        torch.from_numpy(np.maximum(places, 0)).to(device),
        None if given.vectors is None else column(given.vectors, rows, device),
    )


def _right(pairs: Pairs, rows: Labels, named: Labels) -> npt.NDArray[np.bool_]:
    """(n, k) bool: whether targets by id (n, k) are right for rows (n,): their own, or another of their inputs."""
    own: npt.NDArray[np.bool_] = named == pairs.ids[rows, None]
    if pairs.queries is None:
        return own
    distinct, ranks = np.unique(pairs.ids, return_inverse=True)
    known = pairs.queries * len(distinct) + ranks  # one number for an input and a target
    asked = pairs.queries[rows, None] * len(distinct) + np.searchsorted(distinct, named)
    return own | np.isin(asked, known)
