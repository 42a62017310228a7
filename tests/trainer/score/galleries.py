"""Queries of a gallery whose ranks are known."""

import torch
from torch import Tensor


def random_gallery(queries: int = 40, gallery: int = 30, dims: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy copies of gallery targets as queries, in every rank from first to last."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(gallery, dims, generator=generator)
    positive = torch.randint(gallery, (queries,), generator=generator)
    return targets[positive] + torch.randn(queries, dims, generator=generator), targets, positive


def ranks_by_loops(predictions: Tensor, gallery: Tensor, positive: Tensor) -> list[int]:
    ranks = []
    for query, own in zip(predictions.double(), positive.tolist(), strict=True):
        scores = [float(query @ target / query.norm() / target.norm()) for target in gallery.double()]
        ranks.append(1 + sum(score > scores[own] for score in scores))
    return ranks
