"""Names of the metrics that an epoch records."""

import re
from collections.abc import Mapping

RECALL_DEPTHS = (1, 5, 10)
CUT_OFF = 10
"""Of ``mrr_at_10`` and ``ndcg_at_10``, which other tools and leaderboards report: what is further down counts 0."""

GEOMETRY = ("effective_rank", "hubness", "alignment", "uniformity")
"""The keys of :func:`losstune.trainer.score.geometry.geometry`."""

METRICS = frozenset(
    (
        *("loss", "cosine_sim", "mse", "mrr", "median_rank", *GEOMETRY),
        *(f"recall_at_{k}" for k in RECALL_DEPTHS),
        *(f"{name}_at_{CUT_OFF}" for name in ("mrr", "ndcg")),
    )
)
"""Names that every run records, whatever its loss; no part may have one of them."""


NAME_RULE = "letters, digits, spaces, '_', '-', '.', ':', and '/' between such words; at most 200 characters"
"""What a part may be named: what shows a run, MLflow above all, takes no other, and refuses all of a batch with it."""
_NAME = re.compile(r"[\w .:-]+(/[\w .:-]+)*")


def can_be_a_name(name: object) -> bool:
    """Whether a part of a loss's output may be named so."""
    whole = isinstance(name, str) and len(name) <= 200 and _NAME.fullmatch(name) is not None
    return whole and not {".", ".."}.intersection(str(name).split("/"))


_AT_DIMS = re.compile(r"dim_\d+/.*")


def at_dims(dims: int, name: str) -> str:
    """The name of what holds for the first dimensions alone: ``dim_64/mrr``."""
    return f"dim_{dims}/{name}"


def own_parts(metrics: Mapping[str, float]) -> dict[str, float]:
    """What of a split's metrics, named without the split, is the loss's own, of whole embeddings."""
    return {name: value for name, value in metrics.items() if name not in METRICS and not _AT_DIMS.fullmatch(name)}
