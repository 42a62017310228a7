"""Which targets are right for an input that has several."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losstune.trainer.data.pairs import Pairs

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Inputs that have several targets, and these.

    Attributes:
        queries: (Q,) int64, rising: the identities of such inputs.
        starts: (Q + 1,) int64, where the targets of each begin among ``ids``.
        ids: (P,) int64, the identities of the targets.
    """

    queries: Tensor
    starts: Tensor
    ids: Tensor

    @classmethod
    def of(cls, pairs: Pairs, rows: Rows, device: torch.device) -> "Answers | None":
        """Those of some rows; None where no input of the data has several, or only a row's own target is right."""
        if pairs.queries is None:
            return None
        distinct = np.unique(np.stack([pairs.queries[rows], pairs.ids[rows]], axis=1), axis=0)
        queries, counts = np.unique(distinct[:, 0], return_counts=True)
        kept = np.repeat(counts > 1, counts)
        ends = np.concatenate([[0], np.cumsum(counts[counts > 1])])
        found = (queries[counts > 1], ends, distinct[kept, 1])
        return cls(*(torch.from_numpy(array).to(device) for array in found))

    def entries(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The right targets of inputs (B,) that have several, in order: (E,) places in the batch, (E,) ids."""
        places = torch.searchsorted(self.queries, queries).clamp_max(max(0, len(self.queries) - 1))
        rows = (self.queries[places] == queries).nonzero()[:, 0] if len(self.queries) else places[:0]
        first, counts = self.starts[places[rows]], self.starts.diff()[places[rows]]
        every = torch.repeat_interleave(counts)
        within = torch.arange(len(every), device=every.device) - (counts.cumsum(0) - counts)[every]
        return rows[every], self.ids[first[every] + within]


@dataclass(frozen=True)
class RightOfBatch:
    """The right targets of some rows, as losses ask for them; ``queries`` (B,) are the identities of their inputs."""

    answers: Answers
    queries: Tensor

    def split(self, size: int) -> "list[RightOfBatch]":
        """Of so many rows at a time."""
        return [RightOfBatch(self.answers, part) for part in self.queries.split(size)]

    def among(self, ids: Tensor) -> Tensor:
        """(B, M) bool: whether each target (M,), by id, is one of several that are right for each row's input."""
        rows, known = self.answers.entries(self.queries)
        result = torch.zeros(len(self.queries), len(ids), dtype=torch.bool, device=ids.device)
        entry, column = (known[:, None] == ids[None, :]).nonzero(as_tuple=True)
        result[rows[entry], column] = True
        return result
