"""Where each query finds its own target among all targets of a split.

Retrieval is over the full gallery of a split: every distinct target once. A query's rank is
1 + the number of gallery targets that score higher than its own. Where scores tie, each gain is its
expectation over a random order of the tied, so a model that can not tell targets apart scores at chance.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from losstune.trainer.losses import centered, unit

SCORES_PER_CHUNK = 2**22
"""Scores held at once while ranking: 16 MiB of float32, whatever the size of the gallery."""
SCORES_PER_GLANCE = 2**18
"""Scores compared at once: 1 MiB, which the fast cache of a core holds for the second comparison."""
SCORES_PER_LAUNCH = 2**24
"""In place of both on a GPU, 64 MiB: there a call costs more than the work that it starts."""


class NonFiniteError(ValueError):
    """Predictions hold NaN or infinity, which no metric may rank (``score > NaN`` is False)."""


@dataclass(frozen=True)
class OtherPositives:
    """Gallery targets that are right for a query beside its own.

    Attributes:
        queries: (E,) int64, rising, the row of a query.
        places: (E,) int64, the gallery row of a target that is right for it.
    """

    queries: Tensor
    places: Tensor

    def split(self, rows: int, count: int) -> "Iterator[OtherPositives]":
        """Of so many of the ``count`` queries at a time."""
        starts = range(0, count, rows)
        edges = torch.tensor([*starts, count], device=self.queries.device)
        cuts = torch.searchsorted(self.queries.contiguous(), edges).tolist()
        for start, first, last in zip(starts, cuts, cuts[1:], strict=False):
            yield OtherPositives(self.queries[first:last] - start, self.places[first:last])


@dataclass(frozen=True)
class Ranks:
    """Where each of N queries finds its own target in a gallery of G, or the best of several that are right for it.

    Attributes:
        above: (N,) int64, gallery targets that score strictly higher than that.
        tied: (N,) int64, other gallery targets that score exactly the same.
        gallery: G.
        right: (N,) int64, how many of the tied are right as well; None is none of any query.
    """

    above: Tensor
    tied: Tensor
    gallery: int
    right: Tensor | None = None

    def reciprocal(self, k: int | None = None) -> Tensor:
        """Expected reciprocal rank of each query, (N,) float64; with ``k``, 0 where it is beyond the first k."""
        return self._expected(_reciprocals(k or self.gallery, self.above.device))

    def discounted(self, k: int) -> Tensor:
        """Expected 1 / log₂(1 + rank) of each query, 0 beyond the first k, (N,) float64: its nDCG at k.

        Of one right target the ideal order has it first, which gains 1 / log₂ 2 = 1, so nothing is left to divide by.
        """
        return self._expected(_discounts(k, self.above.device))

    def within(self, k: int) -> Tensor:
        """Probability that each query's own target is among the first k, (N,) float64 in [0, 1]."""
        return self._expected(torch.ones(k, dtype=torch.float64, device=self.above.device))

    def _expected(self, gains: Tensor) -> Tensor:
        """Mean gain of the places that a query's own target may have, above+1 to above+1+tied, (N,) float64.

        Args:
            gains: (k,) float64, what places 1 to k are worth; those after them are worth nothing.
        """
        sums = torch.cat([gains.new_zeros(1), gains.cumsum(0)])
        first, last = (place.clamp(max=len(gains)) for place in (self.above, self.above + self.tied + 1))
        mean = (sums[last] - sums[first]) / (self.tied + 1)
        return mean if self.right is None else self._expected_first(gains, mean, self.right)

    def _expected_first(self, gains: Tensor, mean: Tensor, right: Tensor) -> Tensor:
        """The mean gain of the first of several tied right targets, where there are such; ``mean`` elsewhere.

        Of t tied targets, m of them right, the first right one is at place j with probability C(t−j, m−1) / C(t, m).
        """
        several = right.nonzero()[:, 0]
        above, tied, others = (counts[several] for counts in (self.above, self.tied, right))
        if len(several) == 0:
            return mean
        worth = torch.cat([gains, gains.new_zeros(1)])
        chance, total = (others + 1).double() / (tied + 1), torch.zeros_like(mean[several])
        for place in range(min(int((tied - others).max()) + 1, len(gains))):
            total += chance * worth[(above + place).clamp(max=len(gains))]
            chance = chance * (tied - others - place).clamp(min=0) / (tied - place).clamp(min=1)
        return mean.index_copy(0, several, total)

    def mrr(self) -> float:
        """Mean reciprocal rank, in (0, 1]."""
        return float(self.reciprocal().mean())

    def recall_at(self, k: int) -> float:
        """Share of queries whose own target is among the first k, in [0, 1]."""
        return float(self.within(k).mean())

    def median_rank(self) -> float:
        """Median over queries of the expected rank, in [1, G]."""
        tied = self.tied.double() / 2
        if self.right is not None:  # the first of m of t: (t + 1) / (m + 1)
            tied = (self.tied.double() + 2) / (self.right + 2) - 1
        return float((self.above + 1 + tied).quantile(0.5))


@torch.no_grad()
def rank_in_gallery(
    predictions: Tensor,
    gallery: Tensor,
    positive: Tensor,
    center: Tensor | None = None,
    others: OtherPositives | None = None,
) -> Ranks:
    """Rank each query's own target among all gallery targets by cosine, in chunks of bounded memory.

    Of several that are right the best-scored one is ranked; only those that are not right can be above it.

    Args:
        predictions: (N, d) float, the queries.
        gallery: (G, d) float, every distinct target once.
        positive: (N,) int64, the gallery row of each query's own target.
        center: (d,), subtracted from predictions and gallery first; None subtracts nothing. With the training
            targets' mean, targets that are near every query for lying in that direction (hubs) lose their lead.
        others: what is right beside the own targets.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    predictions = centered(predictions, center)
    refuse_non_finite(predictions)
    columns = unit(centered(gallery, center)).float().T
    sizes = (SCORES_PER_LAUNCH, SCORES_PER_LAUNCH) if columns.is_cuda else (SCORES_PER_CHUNK, SCORES_PER_GLANCE)
    per_chunk, per_glance = (max(1, size // len(gallery)) for size in sizes)
    # Allocated once: small results kept from every chunk would pin the heap between the large ones, a chunk each.
    above, tied = torch.empty_like(positive), torch.empty_like(positive)
    room = columns.new_empty(min(per_chunk, len(positive)), len(gallery))
    marks = columns.new_empty(min(per_glance, len(positive)), len(gallery))
    chunks = (part.split(per_chunk) for part in (predictions, positive, above, tied))
    right = None if others is None else torch.empty_like(positive)
    also = itertools.repeat(None) if others is None else others.split(per_chunk, len(positive))
    for number, (queries, place, higher, equal, more) in enumerate(zip(*chunks, also, strict=False)):
        scores = torch.mm(unit(queries).float(), columns, out=room[: len(queries)])  # (rows, G)
        own = scores.gather(1, place[:, None])  # from the same product, so that it ties with itself
        if more is not None and right is not None:
            right[number * per_chunk :][: len(queries)] = _take_best(scores, own, more)
        for glance in zip(*(part.split(per_glance) for part in (scores, own, higher, equal)), strict=True):
            _count(*glance, marks=marks[: len(glance[0])])
    return Ranks(above, tied, len(gallery), right)


def _take_best(scores: Tensor, own: Tensor, more: OtherPositives) -> Tensor:
    """Raise own scores (n, 1) to the best that is right; (n,) how many other right targets score exactly that."""
    found, first = scores[more.queries, more.places], own[:, 0].clone()
    best = own[:, 0].scatter_reduce_(0, more.queries, found, "amax")
    as_good = torch.zeros_like(more.queries, dtype=torch.int64) + (found == best[more.queries])
    return (first == best).long().index_add_(0, more.queries, as_good) - 1


def _count(scores: Tensor, own: Tensor, above: Tensor, tied: Tensor, *, marks: Tensor) -> None:
    """Write how many scores (n, G) of each row are above its own (n, 1), and how many others equal it.

    Marks are float32, and scores turn into marks themselves: torch adds floats up ten times as fast as it counts
    booleans along an axis. The sums are exact to 2²⁴ and taken in float64 beyond.
    """
    exact = torch.float32 if scores.shape[1] <= 2**24 else torch.float64
    tied.copy_(torch.eq(scores, own, out=marks).sum(dim=1, dtype=exact) - 1)
    above.copy_(scores.gt_(own).sum(dim=1, dtype=exact))


def refuse_non_finite(predictions: Tensor) -> None:
    """Raise NonFiniteError, naming the first such row, unless every prediction is finite."""
    refuse_rows(torch.isfinite(predictions).all(dim=-1))


def refuse_rows(finite: Tensor) -> None:
    """As :func:`refuse_non_finite`, of rows (N,) bool that are finite or not."""
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        count = int((~finite).sum())
        raise NonFiniteError(f"predictions hold NaN or infinity in {count} of {len(finite)} rows, first row {row}")


def _reciprocals(k: int, device: torch.device) -> Tensor:
    """1/1 … 1/k, (k,) float64."""
    return 1 / torch.arange(1, k + 1, dtype=torch.float64, device=device)


def _discounts(k: int, device: torch.device) -> Tensor:
    """1/log₂ 2 … 1/log₂(k + 1), (k,) float64."""
    return 1 / torch.arange(2, k + 2, dtype=torch.float64, device=device).log2()
