"""Metrics of the first dimensions of embeddings, as of embeddings that have no more."""

from collections.abc import Sequence

from torch import Tensor

from losstune.trainer.score.metrics import OtherPositives, embedding_metrics
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
        p, t, g = (rows[:, :size] for rows in (predictions, targets, gallery))
        scores = embedding_metrics(p, t, g, positive, None if center is None else center[:size], others)
        found |= {at_dims(size, name): value for name, value in scores.items()}
    return found
