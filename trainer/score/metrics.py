"""Metrics of an embedding: similarity to its own target, and its rank among all targets."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from losstune.trainer.losses import unit
from losstune.trainer.score.names import CUT_OFF, RECALL_DEPTHS
from losstune.trainer.score.ranking import OtherPositives, Ranks, rank_in_gallery


def cosine_similarity(predictions: Tensor, targets: Tensor) -> Tensor:
    """Cosine of each row pair, (N, d) × (N, d) → (N,), in [−1, 1]; 0 where a row is zero."""
    return (unit(predictions) * unit(targets)).sum(dim=-1)


@torch.no_grad()
def row_scores(
    predictions: Tensor,
    targets: Tensor,
    gallery: Tensor,
    positive: Tensor,
    center: Tensor | None = None,
    others: OtherPositives | None = None,
) -> dict[str, Tensor]:
    """What each row adds to the metrics: their means over rows are those of :func:`embedding_metrics`.

    Args:
        predictions, targets: (N, d), row by row.
        gallery, positive, center, others: as in :func:`rank_in_gallery`; only the ranks are taken about the centre.

    Returns:
        Each (N,) float64: ``cosine_sim`` [−1, 1], ``mse`` [0, ∞), and ``mrr`` (0, 1], ``recall_at_1|5|10``,
        ``mrr_at_10`` and ``ndcg_at_10`` [0, 1] as expected over a random order of the tied.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    return _row_scores(rank_in_gallery(predictions, gallery, positive, center, others), predictions, targets)


def _row_scores(ranks: Ranks, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {
        "cosine_sim": cosine_similarity(predictions, targets).double(),
        "mse": (predictions.float() - targets).square().mean(dim=-1).double(),
        **_retrieval(ranks),
    }


def _retrieval(ranks: Ranks) -> dict[str, Tensor]:
    return {
        "mrr": ranks.reciprocal(),
        **{f"recall_at_{k}": ranks.within(k) for k in RECALL_DEPTHS},
        f"mrr_at_{CUT_OFF}": ranks.reciprocal(CUT_OFF),
        f"ndcg_at_{CUT_OFF}": ranks.discounted(CUT_OFF),
    }


@torch.no_grad()
def embedding_metrics(
    predictions: Tensor,
    targets: Tensor,
    gallery: Tensor,
    positive: Tensor,
    center: Tensor | None = None,
    others: OtherPositives | None = None,
) -> dict[str, float]:
    """All metrics that do not depend on the loss; arguments and errors as in :func:`row_scores`.

    Returns:
        ``cosine_sim`` [−1, 1], ``mse`` [0, ∞), ``mrr`` (0, 1], ``recall_at_1|5|10``, ``mrr_at_10``
        and ``ndcg_at_10`` [0, 1], and ``median_rank`` [1, G].
    """
    ranks = rank_in_gallery(predictions, gallery, positive, center, others)
    means = {name: float(values.mean()) for name, values in _row_scores(ranks, predictions, targets).items()}
    return {**means, "median_rank": ranks.median_rank()}


def chance_level(gallery: int, right: Tensor | None = None) -> dict[str, float]:
    """Expected retrieval metrics of a random order of a gallery of G targets.

    Args:
        right: (N,) int64, how many targets are right for each query beside its own; None is none of any.
    """
    counts, places = (torch.zeros(1, dtype=torch.int64) if right is None else right).unique(return_inverse=True)
    anywhere = Ranks(torch.zeros_like(counts), torch.full_like(counts, gallery - 1), gallery, right=counts)
    median = ((gallery + 1) / (counts.double() + 2))[places].quantile(0.5)  # the first of m of G: (G + 1) / (m + 1)
    return {
        **{name: float(values[places].mean()) for name, values in _retrieval(anywhere).items()},
        "median_rank": float(median),
    }


@dataclass(frozen=True)
class Chance:
    """What a random order of a gallery scores.

    Attributes:
        gallery: G, the number of its targets.
        metrics: of :func:`chance_level`.
    """

    gallery: int
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, gallery: int, others: OtherPositives | None = None, queries: int = 1) -> "Chance":
        """Of so many queries, of which some have right targets beside their own."""
        right = None if others is None else torch.bincount(others.queries, minlength=queries)
        return cls(gallery, chance_level(gallery, right))
