"""What the numbers of a model give away, as sentences: a collapsed or hubby embedding, a loss at odds with its aim."""

import math
from collections.abc import Mapping, Sequence

from losstune.trainer.config.objective import Objective

COLLAPSED_RANK = 0.05
"""Share of the way from 1 to the highest effective rank under which an embedding counts as collapsed.

Singular values that fall like 1/k reach 23 % of 512 dimensions, like 1/k² 1 %. On digits the targets reach 68 %
of 32, and models of every loss 63 to 86 %: a sound model may use few dimensions, but hardly this few.
"""

COLLAPSED_UNIFORMITY = -0.04
"""Uniformity above which an embedding counts as collapsed: the mean cosine between predictions is over 0.99."""

HUBBY = 1.5
"""Skewness of the k-occurrence above which an embedding counts as hubby.

Where N_k follows a gamma distribution its skewness is twice its relative spread: above 1.5, how often targets are
retrieved differs by three quarters of the mean. Chance alone (Poisson, k = 10) gives 0.3. On digits: the targets as
their own queries 0.9, trained models 0.4 to 1.6, 0.3 to 0.9 with ``center``; one prediction for all gives 5.7.
"""

PARTED = 0.05
"""Share of the best objective that must be lost before validation loss and objective are said to part ways."""


def geometry_flags(values: Mapping[str, float], dim: int) -> list[str]:
    """A sentence for each sign of trouble in what :func:`geometry` returned; none where all is well.

    Args:
        values: the keys of :func:`geometry`.
        dim: min(N, d), the highest effective rank there could be. Under 2 nothing can be said of collapse.
    """
    flags = []
    rank = values["effective_rank"]
    if dim >= 2 and values["uniformity"] > COLLAPSED_UNIFORMITY:
        flags.append(f"collapsed: all predictions point nearly the same way (uniformity {values['uniformity']:.3f})")
    elif dim >= 2 and rank < 1 + COLLAPSED_RANK * (dim - 1):
        flags.append(f"collapsed: predictions differ in about {rank:.1f} of {dim} dimensions")
    if values["hubness"] > HUBBY:
        flags.append(f"hubs: a few targets are near most predictions (hubness {values['hubness']:.2f})")
    return flags


def parting(records: Sequence[Mapping[str, float]], objective: Objective) -> str | None:
    """A sentence if validation loss would have kept an epoch with a much worse objective; else None.

    Much worse is more than :data:`PARTED` of the best objective. Epochs without both numbers, or with one that is
    not finite, do not count; of equals the first is meant, as in training.

    Args:
        records: epochs of one run, with ``epoch``, ``val/loss`` and the objective.
    """
    names = ("val/loss", objective)
    whole = [record for record in records if all(math.isfinite(record.get(name, math.nan)) for name in names)]
    if not whole:
        return None
    chosen = min(whole, key=lambda record: record["val/loss"])
    best = max(whole, key=lambda record: record[objective])
    if best[objective] - chosen[objective] <= PARTED * abs(best[objective]):
        return None
    return (
        f"val/loss and {objective} part ways: val/loss is lowest in epoch {chosen['epoch']:g}, with {objective} "
        f"{chosen[objective]:.4f}; the best {objective} is {best[objective]:.4f}, in epoch {best['epoch']:g}"
    )
