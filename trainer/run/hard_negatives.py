"""Hard negatives: those that the data gives, and of each training row the nearest wrong targets (ANCE).

These are mined with the model as it stands, in a bounded random sample of the training targets, the same one for all
rows, and kept until the next mining (Xiong et al., 2021, *Approximate nearest neighbor negative contrastive learning*).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.loss_config import LossConfig, Mining
from losstune.trainer.data.columns import Column
from losstune.trainer.data.resident import TrainSplit
from losstune.trainer.data.split_negatives import SplitNegatives
from losstune.trainer.losses.base import OwnNegatives, takes_negatives, unit
from losstune.trainer.run.gradients import CenteredLoss, Gradients
from losstune.trainer.run.matryoshka import loss_of_whole

SCORES_AT_ONCE = 2**19
"""Scores held at once: 2 MiB in float32, which stay in a cache."""


class NegativesOfRows(Protocol):
    """Negatives of each training row's own, wherever they come from."""

    def of(self, rows: Tensor) -> OwnNegatives:
        """Those of some training rows (B,)."""
        ...


def all_of(sources: Sequence[NegativesOfRows], rows: Tensor) -> OwnNegatives | None:
    """Those of some rows (B,) from each source, one after the other; None without a source."""
    found = [source.of(rows) for source in sources]
    if len(found) < 2:
        return found[0] if found else None
    return OwnNegatives(*(torch.cat(column, dim=1) for column in zip(*found, strict=True)))


@dataclass(frozen=True)
class GivenNegatives:
    """Those that the data gives.

    Attributes:
        aims: makes of targets (n, d) what the loss takes.
    """

    given: SplitNegatives
    targets: Column
    aims: Callable[[Tensor], Tensor]

    def of(self, rows: Tensor) -> OwnNegatives:
        """Those of some training rows (B,)."""
        vectors = self.given.of(rows, self.targets)
        return OwnNegatives(self.aims(vectors.flatten(0, 1)).view_as(vectors), self.given.usable.index_select(0, rows))


@dataclass(frozen=True)
class MinedNegatives:
    """The k negatives of each of the N training rows.

    Attributes:
        sample: (S,) int64, rows of the training split whose targets they were chosen from.
        picks: (N, k) int32, places in the sample, nearest first; −1 where there are no more.
        aims: (S, d), the sample's targets as the loss takes them.
    """

    sample: Tensor
    picks: Tensor
    aims: Tensor

    def of(self, rows: Tensor) -> OwnNegatives:
        """Those of some training rows (B,)."""
        picks = self.picks.index_select(0, rows).long()
        targets = self.aims.index_select(0, picks.clamp_min(0).flatten())
        return OwnNegatives(targets.view(*picks.shape, -1), picks >= 0)

    def state_dict(self) -> dict[str, Tensor]:
        """What is kept of them: the model that they were mined with is gone."""
        return {"sample": self.sample, "picks": self.picks}


@dataclass(frozen=True)
class Miner:
    """Mines negatives in a training split.

    Attributes:
        centered: subtracts the run's centre, if there is one.
        aims: makes of targets (n, d) what the loss takes.
    """

    mining: Mining
    split: TrainSplit
    centered: Callable[[Tensor], Tensor]
    aims: Callable[[Tensor], Tensor]

    def due(self, epoch: int) -> bool:
        """Whether they are mined before this epoch: the first, and then every so many."""
        return (epoch - 1) % self.mining.every == 0

    @torch.no_grad()
    def mine(self, predictions: Iterator[Tensor]) -> MinedNegatives:
        """Negatives by the predictions (N, d) of all rows, which come in pieces; torch's generator draws the sample."""
        first = self.split.first_rows
        drawn = torch.randperm(len(first))[: self.mining.sample].sort().values.to(first.device)
        sample = first[drawn]  # by rising id
        units = unit(self.centered(self._targets(sample)))
        at_once = max(1, SCORES_AT_ONCE // len(sample))
        picks, start = [], 0
        for piece in predictions:
            for part in piece.split(at_once):
                rows = torch.arange(start, start + len(part), device=part.device)
                cosines = unit(self.centered(part)) @ units.T  # (n, S)
                picks.append(self._nearest(cosines.masked_fill_(self._passed_over(rows, sample, units), -torch.inf)))
                start += len(part)
        return self._made(sample, torch.cat(picks))

    def restored(self, state: dict[str, Any]) -> MinedNegatives:
        """What a checkpoint kept.

        Raises:
            ValueError: it is of other data, or of other settings.
        """
        sample, picks = (state[name].to(self.split.ids.device) for name in ("sample", "picks"))
        if picks.shape != (len(self.split), self.mining.negatives):
            raise ValueError(f"found negatives of shape {tuple(picks.shape)} for {len(self.split)} rows")
        return self._made(sample, picks)

    def _made(self, sample: Tensor, picks: Tensor) -> MinedNegatives:
        return MinedNegatives(sample, picks, self.aims(self._targets(sample)))

    def _targets(self, rows: Tensor) -> Tensor:
        return self.split.targets.index_select(0, rows)

    def _passed_over(self, rows: Tensor, sample: Tensor, units: Tensor) -> Tensor:
        """(n, S) bool: which targets of the sample, at length one, are right for a row, or too near its own one."""
        ids, own = self.split.ids[sample], self.split.ids[rows]
        right = self.split.right(rows)
        result = torch.zeros(len(rows), len(ids), dtype=torch.bool, device=ids.device)
        result = result if right is None else right.among(ids)
        if self.mining.margin is not None:
            result |= unit(self.centered(self._targets(rows))) @ units.T > 1 - self.mining.margin
        places = torch.searchsorted(ids, own).clamp_max(len(ids) - 1)[:, None]
        return result.scatter_(1, places, result.gather(1, places) | (ids[places] == own[:, None]))

    def _nearest(self, cosines: Tensor) -> Tensor:
        """(n, k) int32: places of the highest after those that are skipped, −1 where only −inf is left."""
        wanted, skip = self.mining.negatives, self.mining.skip
        highest, places = cosines.topk(min(skip + wanted, cosines.shape[1]), dim=1)
        kept = places.int().masked_fill_(torch.isneginf(highest), -1)[:, skip:]
        return F.pad(kept, (0, wanted - kept.shape[1]), value=-1)


def given_to(trained: CenteredLoss, split: TrainSplit, gradients: Gradients) -> list[NegativesOfRows]:
    """The negatives that the data gives, if it does and the loss takes any: others go by the pairs alone."""
    if split.negatives is None or not takes_negatives(loss_of_whole(trained.module).forward):
        return []
    return [GivenNegatives(split.negatives, split.targets, gradients.aims)]


def miner_of(loss: LossConfig, trained: CenteredLoss, split: TrainSplit, gradients: Gradients) -> Miner | None:
    """What mines for a loss; None where it wants none.

    Raises:
        UserError: it wants some, and its module takes none.
    """
    mining = loss.mining()
    if mining is None:
        return None
    module = loss_of_whole(trained.module)
    if not takes_negatives(module.forward):
        raise UserError(
            f"hard_negatives: found {mining.negatives}; forward of {type(module).__name__}, the module of "
            f"{loss.name}, takes no argument 'negatives'; allowed: 0"
        )
    return Miner(mining, split, trained.centered, gradients.aims)
