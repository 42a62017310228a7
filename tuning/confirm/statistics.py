"""Statistics of a confirmation: means, differences and gains of arms, with 95 % limits and p-values.

An arm is a loss with its setting. Its scores are an array (S, T): S seeds (weights, batches and the split, all fresh)
crossed with T test targets, the same for all arms. Both are random samples of what might have been drawn, so with
mean squares A of the seeds, B of the targets and E of the residual (one score a cell) the variance of the mean is

    SE² = σ²_seeds/S + σ²_targets/T + σ²_residual/(S·T) = (max(A, E) + max(B, E) − E)/(S·T).

The floors at E are those of :class:`Components`; without them, SE² may be near or below 0 where the residual dominates.

Limits are mean ± q·SE; where q comes from is told in :mod:`losstune.tuning.confirm.bootstrap`.

A p-value is the smallest level whose limits exclude 0, so p < 0.05 if and only if the 95 % limits do.

Measured at S = 10 and T from 60 to 400, 2,000 to 10,000 studies a mix: limits cover the truth in 94.6 to 97.2 % for
normal, 0/1 and reciprocal rank scores and their differences, with seeds, targets or residual as the main part. Four
equal losses in two measures: any claim after Holm in at most 4.2 % of 1,000 to 4,000. Outside that:

- no effect of seeds and targets at all, residual alone: 97.1 to 97.7 %, on the safe side. So are differences of 0/1
  scores with means near 0.05 at T = 60 (thirty hits): 97.4 %;
- seeds that dominate and are exponential: 92 to 93 %. If one seed in ten collapses, 70 to 88 %: ten seeds often show
  no collapse. The difference of two arms that collapse alike is symmetric: 98 %;
- means of 0/1 scores below about 0.02 at T = 60 (twelve hits): 93 to 99.8 %. Gains over such an arm: down to 79 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from losstune.tuning.confirm.bootstrap import Array, Studentised, mean_squares, squared_error, studentise

RESAMPLES = 4000
"""Bootstrap resamples: the error of a p near 0.004, which is 0.05 over 12 comparisons, is then 0.001."""

ALPHA = 0.05
MIN_SEEDS = 10
"""A claim needs at least this many seeds: with fewer, the limits were not shown to hold."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % limits, low ≤ value ≤ high, in the unit of the scores."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of arm A less that of arm B.

    Attributes:
        value, low, high: the difference and its 95 % limits, in the unit of the scores.
        p: two-sided p-value of no difference, in [1/(resamples + 1), 1].
        superiority: P(A > B), in [0, 1]: the share of seeds with the higher mean for A, ties as half
            (Bouthillier et al., MLSys 2021).
    """

    value: float
    low: float
    high: float
    p: float
    superiority: float


@dataclass(frozen=True)
class Components:
    """Variances of a score over seeds, targets and what is left, each ≥ 0, in the squared unit of the scores."""

    seeds: float
    targets: float
    residual: float


def mean_interval(scores: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean of an arm's scores (S, T).

    One seed, or one target, is taken as the only one there is: the limits are then over the other factor alone.

    Raises:
        ValueError: scores are not a finite (S, T), hold a single cell, or resamples are fewer than 20.
    """
    study = studentise(_finite(scores, "scores")[None], seed, resamples)
    return _interval(study, float(study.value[0]))


def difference(a: Array, b: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """Arm A against arm B, both (S, T), paired over seeds and over targets.

    Raises:
        ValueError: as :func:`mean_interval`, or the shapes differ.
    """
    a, b = _paired(a, b)
    study = studentise((a - b)[None], seed, resamples)
    limits = _interval(study, float(study.value[0]))
    lead = a.mean(axis=1) - b.mean(axis=1)  # (S,)
    superiority = float(((lead > 0) + 0.5 * (lead == 0)).mean())
    return Difference(limits.value, limits.low, limits.high, float(study.p_values()[0]), superiority)


def relative_gain(a: Array, b: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """mean(A)/mean(B) − 1 of paired arms (S, T), without unit: 0.1 is 10 % more.

    With ρ = mean(A)/mean(B), the limits are those of the mean of (a − ρ·b)/mean(B), the ratio's linear part
    (delta method). They need a mean of B that is many of its standard errors away from 0.

    Raises:
        ValueError: as :func:`difference`, or mean(B) is 0.
    """
    a, b = _paired(a, b)
    base = float(b.mean())
    if base == 0:
        raise ValueError("relative gain over an arm whose mean score is 0")
    ratio = float(a.mean()) / base
    return _interval(studentise(((a - ratio * b) / base)[None], seed, resamples), ratio - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Scandinavian Journal of Statistics 1979).

    Rejecting where they are below α keeps the chance of any false claim below α, however the tests depend.

    Raises:
        ValueError: a p-value is not in [0, 1].
    """
    for place, p in enumerate(p_values):
        if not 0 <= p <= 1:
            raise ValueError(f"p-value {p} at position {place} is not in [0, 1]")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def variance_components(d: Array) -> Components:
    """Components of scores or of differences (S, T) by two-way crossed ANOVA, one observation a cell.

    Both factors random (Searle, Casella & McCulloch, Variance Components, 1992); a negative estimate becomes 0.

    Raises:
        ValueError: d is not a finite (S, T) with S ≥ 2 and T ≥ 2.
    """
    d = _finite(d, "d")
    n_seeds, n_targets = d.shape
    if min(d.shape) < 2:
        raise ValueError(f"components need at least 2 seeds and 2 targets, not {n_seeds} and {n_targets}")
    a, b, e = (float(square[0]) for square in mean_squares(d[None]))
    return Components(seeds=max(0.0, a - e) / n_targets, targets=max(0.0, b - e) / n_seeds, residual=e)


def detectable(components: Components, seeds: int, targets: int, power: float = 0.8, *, alpha: float = ALPHA) -> float:
    """Smallest true difference that so many seeds and targets show, with this power in (0, 1).

    (t_(1 − α/2) + t_power) · SE, with the degrees of freedom of the limits. In the unit of the scores.

    Args:
        alpha: what the p-value has to be below; of several comparisons, what a correction leaves for this one.

    Raises:
        ValueError: fewer than 2 seeds or targets, or power not in (0, 1).
    """
    from scipy.special import stdtrit

    if min(seeds, targets) < 2:
        raise ValueError(f"planning needs at least 2 seeds and 2 targets, not {seeds} and {targets}")
    if not 0 < power < 1:
        raise ValueError(f"power {power} is not in (0, 1)")
    e = np.asarray(components.residual)
    a, b = targets * components.seeds + e, seeds * components.targets + e
    variance, degrees = squared_error(a, b, e, seeds, targets)
    quantiles = stdtrit(degrees, 1 - alpha / 2) + stdtrit(degrees, power)
    return max(0.0, float(quantiles * np.sqrt(variance)))


def seeds_needed(
    components: Components,
    targets: int,
    delta: float,
    power: float = 0.8,
    at_most: int = 1000,
    *,
    alpha: float = ALPHA,
) -> int | None:
    """Fewest seeds, from MIN_SEEDS to at_most, that show a true difference of delta; None if none do.

    Raises:
        ValueError: as :func:`detectable`.
    """

    def shown(seeds: int) -> float:
        return detectable(components, seeds, targets, power, alpha=alpha)

    return next((seeds for seeds in range(MIN_SEEDS, at_most + 1) if shown(seeds) <= delta), None)


def _interval(study: Studentised, value: float) -> Interval:
    """The one mean of a study, moved to value."""
    half = float(study.half_widths()[0])
    return Interval(value, value - half, value + half)


def _paired(a: Array, b: Array) -> tuple[Array, Array]:
    """Both arms, as finite (S, T)."""
    a, b = _finite(a, "a"), _finite(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"arms are paired over seeds and targets, but a is {a.shape} and b is {b.shape}")
    return a, b


def _finite(scores: Array, name: str) -> Array:
    """Scores as a float64 (S, T) without NaN or infinity."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"{name} must be (seeds, targets) with at least one of each, not {scores.shape}")
    finite = np.isfinite(scores)
    if not finite.all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise ValueError(f"{name} hold NaN or infinity in {int((~finite).sum())} cells, first at [{row}, {column}]")
    return scores
