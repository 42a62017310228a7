"""Signs of a collapsed or a hubby embedding, and of a loss that parts ways with what is asked of it.

A model can score a fair cosine while its predictions differ in a few directions only (collapse), or while a
few targets are near every query (hubs). All four numbers here are of unit rows: scale does not count.
"""

import math

import torch
from torch import Tensor

from losstune.trainer.losses import centered, unit
from losstune.trainer.score.ranking import SCORES_PER_CHUNK, refuse_non_finite

UNIFORMITY_ROWS = 4096
"""Rows whose pairs are compared at most: 8.4 million pairs, whatever the size of the split."""

_SAME = 1e-5  # directions closer than this, in the mean, differ by rounding alone: float32 keeps 7 digits


@torch.no_grad()
def effective_rank(x: Tensor) -> float:
    """How many dimensions the directions of rows (N, d) use: exp of the entropy of their singular values.

    The rows are scaled to unit length and their mean is subtracted, so that neither lengths nor a direction that
    all share count as variety; the singular values of the result, divided by their sum, are taken as
    probabilities (Roy and Vetterli, *The effective rank*, EUSIPCO 2007).

    Returns:
        In [1, min(N, d)]: equal spread over m orthogonal directions gives m. 1 where all rows have one direction.

    Raises:
        NonFiniteError: a row holds NaN or infinity.
    """
    refuse_non_finite(x)
    rows = unit(x).double()
    rows = rows - rows.mean(dim=0)
    if float(rows.square().sum(dim=1).mean()) <= _SAME**2:
        return 1.0
    squares = torch.linalg.eigvalsh(rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T)
    noise = squares[-1] * len(squares) * torch.finfo(squares.dtype).eps
    values = torch.where(squares > noise, squares, 0.0).sqrt()
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def hubness(predictions: Tensor, gallery: Tensor, k: int = 10, center: Tensor | None = None) -> float:
    """Skewness over gallery targets of N_k, how often each is among the k nearest of a query.

    Zero if all targets are retrieved about equally often; high if a few (hubs) crowd out the rest (Radovanović,
    Nanopoulos and Ivanović, *Hubs in Space*, JMLR 2010). Nearness is the cosine, in chunks of bounded memory. Where
    scores tie at place k, N_k is its expectation over a random order of the tied.

    Args:
        predictions: (N, d) float, the queries.
        gallery: (G, d) float, every distinct target once.
        k: from 1; no more than G count.
        center: (d,), subtracted from both first, as in retrieval; None subtracts nothing.

    Returns:
        E[(N_k − μ)³] / σ³, unbounded on both sides; 0 where every target occurs equally often.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
        ValueError: k under 1.
    """
    if k < 1:
        raise ValueError(f"k: found {k}; 1 or more is allowed")
    predictions = centered(predictions, center)
    refuse_non_finite(predictions)
    columns = unit(centered(gallery, center)).float().T
    occurrences = torch.zeros(len(gallery), dtype=torch.float64, device=columns.device)
    for rows in predictions.split(max(1, SCORES_PER_CHUNK // len(gallery))):
        occurrences += _occurrences(unit(rows).float() @ columns, min(k, len(gallery)))
    deviation = occurrences - occurrences.mean()
    spread = deviation.square().mean().sqrt()
    if float(spread) <= 1e-9 * len(predictions):  # sums of fractions 1/ties, equal but for rounding
        return 0.0
    return float((deviation / spread).pow(3).mean())


def _occurrences(scores: Tensor, k: int) -> Tensor:
    """How many of some queries have each target among their k nearest; (n, G) → (G,) float64."""
    last = scores.topk(k, dim=1).values[:, -1:]  # (n, 1) the score at place k
    above, tied = scores > last, scores == last
    left = (k - above.sum(dim=1, dtype=torch.float64)) / tied.sum(dim=1)  # places left, shared among the tied
    return above.sum(dim=0) + left @ tied.double()


@torch.no_grad()
def alignment(predictions: Tensor, targets: Tensor) -> float:
    """Mean over rows of ‖unit(p) − unit(t)‖², predictions and targets (N, d) row by row.

    In [0, 4], 0 is perfect; 2 (1 − cosine) where no row is zero (Wang and Isola, ICML 2020, with α = 2).

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    refuse_non_finite(predictions)
    return float((unit(predictions) - unit(targets)).square().sum(dim=-1, dtype=torch.float64).mean())


@torch.no_grad()
def uniformity(predictions: Tensor) -> float:
    """Log of the mean over distinct pairs of rows (N, d) of exp(−2 ‖unit(x) − unit(y)‖²).

    In [−8, 0]: 0 where all predictions point one way, about −4 + 8/d spread evenly over a sphere of many dimensions
    (Wang and Isola, ICML 2020, with t = 2). Of more than :data:`UNIFORMITY_ROWS` rows, that many are drawn, always
    the same ones for the same N. A single row has no pairs and counts as 0.

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    refuse_non_finite(predictions)
    count = len(predictions)
    if count > UNIFORMITY_ROWS:
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:UNIFORMITY_ROWS]
        predictions, count = predictions[drawn.to(predictions.device)], UNIFORMITY_ROWS
    if count == 1:
        return 0.0
    rows = unit(predictions).float()
    squares = rows.square().sum(dim=1)
    total = 0.0
    for part in torch.arange(count, device=rows.device).split(max(1, SCORES_PER_CHUNK // count)):
        distances = squares[part, None] + squares - 2 * rows[part] @ rows.T
        kernel = torch.exp(-2 * distances.clamp(min=0))
        kernel[torch.arange(len(part), device=rows.device), part] = 0  # a row is no pair with itself
        total += float(kernel.sum(dtype=torch.float64))
    return math.log(total / (count * (count - 1)))


@torch.no_grad()
def geometry(predictions: Tensor, targets: Tensor, gallery: Tensor, center: Tensor | None = None) -> dict[str, float]:
    """All four, each as in its own function, in the space that retrieval ranks in.

    Args:
        predictions, targets: (N, d), row by row.
        gallery: (G, d), every distinct target once.
        center: (d,), subtracted from all three first; None subtracts nothing.

    Returns:
        ``effective_rank`` [1, min(N, d)], ``hubness``, ``alignment`` [0, 4] and ``uniformity`` [−8, 0].

    Raises:
        NonFiniteError: a prediction is NaN or infinite.
    """
    predictions = centered(predictions, center)
    return {
        "effective_rank": effective_rank(predictions),
        "hubness": hubness(predictions, centered(gallery, center)),
        "alignment": alignment(predictions, centered(targets, center)),
        "uniformity": uniformity(predictions),
    }
