"""Names of the metrics that an epoch records."""

from collections.abc import Mapping

RECALL_DEPTHS = (1, 5, 10)

GEOMETRY = ("effective_rank", "hubness", "alignment", "uniformity")
"""The keys of :func:`losstune.trainer.score.geometry.geometry`."""

METRICS = frozenset(
    ("loss", "cosine_sim", "mse", "mrr", *(f"recall_at_{k}" for k in RECALL_DEPTHS), "median_rank", *GEOMETRY)
)
"""Names that every run records, whatever its loss; no part may have one of them."""


def own_parts(metrics: Mapping[str, float]) -> dict[str, float]:
    """What of a split's metrics, named without the split, is the loss's own."""
    return {name: value for name, value in metrics.items() if name not in METRICS}
