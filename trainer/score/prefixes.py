"""Scores of the first dimensions of embeddings, as of embeddings that have no more."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from losstune.trainer.score.names import at_dims
from losstune.trainer.score.ranking import OtherPositives

Score = TypeVar("Score")
"""A number of all rows, or a tensor (N,) of each."""


def prefix_scores(
    scored: Callable[..., Mapping[str, Score]],
    sizes: Sequence[int],
    predictions: Tensor,
    targets: Tensor,
    gallery: Tensor,
    positive: Tensor,
    center: Tensor | None = None,
    others: OtherPositives | None = None,
) -> dict[str, Score]:
    """What a function of all that follows gives of prefixes, as ``dim_64/mrr``.

    Args:
        scored: :func:`~losstune.trainer.score.metrics.embedding_metrics`, or ``row_scores`` there for each row.
        sizes: dimensions of the prefixes; one of half of them all costs about half of the whole.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    found: dict[str, Score] = {}
    for size in sizes:
        p, t, g = (rows[:, :size] for rows in (predictions, targets, gallery))
        scores = scored(p, t, g, positive, None if center is None else center[:size], others)
        found |= {at_dims(size, name): value for name, value in scores.items()}
    return found
