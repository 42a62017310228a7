"""A trained model on the locked test split."""

from dataclasses import dataclass
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.columns import column, mean_of
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.score.flags import geometry_flags
from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import Chance, embedding_metrics
from losstune.trainer.score.prefixes import prefix_scores
from losstune.trainer.score.ranking import NonFiniteError


@dataclass(frozen=True)
class Scored:
    """A model on the locked test split.

    Attributes:
        metrics: ``test/…``: those of :func:`embedding_metrics`, of :func:`geometry`, and of :func:`prefix_scores`.
        chance: what a random order of its distinct targets scores.
        dim: min(N, d), the highest effective rank there could be.
        flags: sentences of :func:`geometry_flags`.
    """

    metrics: dict[str, float]
    chance: Chance
    dim: int
    flags: list[str]


def score_test(checkpoint: Path, pairs: Pairs) -> Scored:
    """Score a model on the test split of its own run, about that run's centre if it was trained with one.

    Raises:
        UserError: the test split has no rows, or predictions are not finite.
    """
    trained = load_model(checkpoint)
    rows = split_rows(pairs, trained.config.split_seed, train_on_val=trained.config.fit == "train+val")
    if len(rows.test) == 0:
        raise UserError(f"{pairs.source}: the test split has no rows to score")
    split = split_tensors(pairs, rows.test, trained.device)
    center = mean_of(column(pairs.targets, rows.train, trained.device)).float() if trained.config.center else None
    predictions = trained.embeddings(split.inputs)
    scored = (predictions, split.targets, split.gallery, split.positive, center, split.others)
    sizes = [prefix.dims for prefix in trained.config.prefixes if prefix.dims < trained.output_dim]
    try:
        scores = embedding_metrics(*scored) | prefix_scores(embedding_metrics, sizes, *scored)
        shape = geometry(predictions, split.targets, split.gallery, center)
    except NonFiniteError as error:
        raise UserError(f"{pairs.source}: test split: {error}") from None
    dim = min(predictions.shape)
    metrics = {f"test/{name}": value for name, value in {**scores, **shape}.items()}
    return Scored(metrics, split.chance, dim, geometry_flags(shape, dim))
