"""Metrics of the first dimensions of embeddings, as of embeddings that have no more."""

from collections.abc import Sequence

from torch import Tensor

from losstune.trainer.score.metrics import OtherPositives, embedding_metrics, row_scores
from losstune.trainer.score.names import at_dims


def prefix_metrics(
    sizes: Sequence[int],
    predictions: Tensor,
    targets: Tensor,
    gallery: Tensor,
    positive: Tensor,
    center: Tensor | None = None,
    others: OtherPositives | None = None,
) -> dict[str, float]:
    """What :func:`~losstune.trainer.score.metrics.embedding_metrics` gives of prefixes, as ``dim_64/mrr``.

    Args:
        sizes: dimensions of the prefixes; one of half of them all costs about half of the whole.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    found: dict[str, float] = {}
    for size in sizes:
        p, t, g, c = _first(size, predictions, targets, gallery, center)
        scores = embedding_metrics(p, t, g, positive, c, others)
        found |= {at_dims(size, name): value for name, value in scores.items()}
    return found


def prefix_row_scores(
    sizes: Sequence[int],
    predictions: Tensor,
    targets: Tensor,
    gallery: Tensor,
    positive: Tensor,
    center: Tensor | None = None,
    others: OtherPositives | None = None,
) -> dict[str, Tensor]:
    """The same row by row, each (N,), as :func:`~losstune.trainer.score.metrics.row_scores` gives it.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    found: dict[str, Tensor] = {}
    for size in sizes:
        p, t, g, c = _first(size, predictions, targets, gallery, center)
        scores = row_scores(p, t, g, positive, c, others)
        found |= {at_dims(size, name): value for name, value in scores.items()}
    return found


def _first(
    size: int, predictions: Tensor, targets: Tensor, gallery: Tensor, center: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    return predictions[:, :size], targets[:, :size], gallery[:, :size], None if center is None else center[:size]
