"""Splits as training and evaluation see them: on the device for a whole run, but for what stays on disk."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.loss_config import Gallery
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.answers import Answers, RightOfBatch
from losstune.trainer.data.columns import Column, Moments, column, mean_of, moments_of
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.split_negatives import SplitNegatives, split_negatives
from losstune.trainer.data.splits import Rows, query_rows, split_rows
from losstune.trainer.losses import centered
from losstune.trainer.score.metrics import Chance
from losstune.trainer.score.ranking import OtherPositives


@dataclass(frozen=True)
class TrainSplit:
    """The N rows that are trained on, for one device.

    Attributes:
        inputs: (N, …).  targets: (N, d).  ids: (N,) int64.
        queries: (N,) int64, identities of the inputs, and their right targets, where inputs have several.
        negatives: those that the data gives to each row, where it does.
    """

    inputs: Column
    targets: Column
    ids: Tensor
    queries: Tensor | None = None
    answers: Answers | None = None
    negatives: SplitNegatives | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def right(self, rows: Tensor) -> RightOfBatch | None:
        """The targets that are right for some rows beside their own."""
        return _right(self.queries, self.answers, rows)

    @cached_property
    def moments(self) -> Moments:
        """Moments of the inputs, by which an encoder standardises them."""
        return moments_of(self.inputs)

    @cached_property
    def mean_target(self) -> Tensor:
        """Mean over rows of the targets, (d,) float32, summed in float64: what ``center`` subtracts."""
        return mean_of(self.targets).float()

    @cached_property
    def distinct(self) -> bool:
        """Whether no two rows share a target."""
        return len(self.ids.unique()) == len(self.ids)

    @cached_property
    def first_rows(self) -> Tensor:
        """Of each distinct target the first row, by rising id, (G,) int64."""
        _, first = np.unique(self.ids.cpu().numpy(), return_index=True)
        return torch.from_numpy(first).to(self.ids.device)

    @cached_property
    def gallery(self) -> Tensor:
        """Each distinct target once, by rising id, (G, d); on the device as a whole."""
        return self.targets.index_select(0, self.first_rows)


@dataclass(frozen=True)
class SplitTensors:
    """A split that is evaluated, for one device: N rows, all or a sample, and a gallery of G distinct targets.

    Attributes:
        inputs: (N, …), maybe on disk; all else is on the device.
        targets: (N, d).  ids: (N,) int64.
        gallery: (G, d), each distinct target of the whole split once.
        positive: (N,) int64, gallery row of a row's own target.
        queries, answers: as of a :class:`TrainSplit`.
        others: gallery targets that are right beside a row's own, where inputs have several.
    """

    inputs: Column
    targets: Tensor
    ids: Tensor
    gallery: Tensor
    positive: Tensor
    queries: Tensor | None = None
    answers: Answers | None = None
    others: OtherPositives | None = None

    @cached_property
    def chance(self) -> Chance:
        """What a random order of the gallery scores."""
        return Chance.of(len(self.gallery), self.others, len(self))

    def right(self, rows: Tensor) -> RightOfBatch | None:
        """The targets that are right for some rows beside their own."""
        return _right(self.queries, self.answers, rows)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ResidentData:
    """What training may see: the training split, and of the validation split the rows that are scored.

    The test split is not in it.
    """

    train: TrainSplit
    val: SplitTensors | None
    source: str
    digest: str


def resident_data(pairs: Pairs, config: TrainConfig, device: torch.device) -> ResidentData:
    """Put the training and validation rows on the device, but for those that stay on disk.

    Raises:
        UserError: a split is too small for the batch.
    """
    rows = split_rows(pairs, config.split_seed, train_on_val=config.fit == "train+val")
    answers = Answers.of(pairs, np.concatenate([rows.train, rows.val]), device)
    train = train_split(pairs, rows.train, device, answers)
    queries = query_rows(rows.val, config.eval_queries)
    val = split_tensors(pairs, rows.val, device, queries, answers) if len(rows.val) else None
    data = ResidentData(train, val, pairs.source, pairs.digest)
    check_rows(config, data)
    return data


def train_split(pairs: Pairs, rows: Rows, device: torch.device, answers: Answers | None = None) -> TrainSplit:
    """Some rows of the pairs, to be trained on; ``answers`` are what is known of their inputs."""
    return TrainSplit(
        inputs=column(pairs.inputs, rows, device),
        targets=column(pairs.targets, rows, device),
        ids=torch.from_numpy(pairs.ids[rows]).to(device),
        queries=None if answers is None else _queries(pairs, rows, device),
        answers=answers,
        negatives=split_negatives(pairs, rows, device),
    )


def split_tensors(
    pairs: Pairs, rows: Rows, device: torch.device, queries: Rows | None = None, answers: Answers | None = None
) -> SplitTensors:
    """Some rows of the pairs, to be evaluated.

    Args:
        queries: those of them that are scored; None is all. The gallery is made of all rows.
        answers: what is known of their inputs; None is what these rows tell.
    """
    scored = rows if queries is None else queries
    distinct, first = np.unique(pairs.ids[rows], return_index=True)
    ids = pairs.ids[scored]
    if answers is None:
        answers = Answers.of(pairs, rows, device)
    identities = None if answers is None else _queries(pairs, scored, device)
    positive = torch.from_numpy(np.searchsorted(distinct, ids)).to(device)
    return SplitTensors(
        inputs=column(pairs.inputs, scored, device),
        targets=torch.from_numpy(pairs.targets[scored]).to(device),
        ids=torch.from_numpy(ids).to(device),
        gallery=torch.from_numpy(pairs.targets[rows[first]]).to(device),
        positive=positive,
        queries=identities,
        answers=answers,
        others=_others(answers, identities, positive, torch.from_numpy(distinct).to(device)),
    )


def _queries(pairs: Pairs, rows: Rows, device: torch.device) -> Tensor:
    assert pairs.queries is not None
    return torch.from_numpy(pairs.queries[rows]).to(device)


def _right(queries: Tensor | None, answers: Answers | None, rows: Tensor) -> RightOfBatch | None:
    if queries is None or answers is None:
        return None
    return RightOfBatch(answers, queries.index_select(0, rows))


def _others(
    answers: Answers | None, queries: Tensor | None, positive: Tensor, gallery: Tensor
) -> OtherPositives | None:
    """The places in the gallery, whose ids (G,) rise, of what is right for each row beside its own target."""
    if answers is None or queries is None:
        return None
    rows, ids = answers.entries(queries)
    places = torch.searchsorted(gallery, ids).clamp_max(len(gallery) - 1)
    kept = (gallery[places] == ids) & (places != positive[rows])
    return OtherPositives(rows[kept], places[kept]) if bool(kept.any()) else None


@dataclass(frozen=True)
class CenteredTargets:
    """The training split's targets as a loss sees them: about ``center`` (d,), if there is one."""

    split: TrainSplit
    center: Tensor | None

    @property
    def distinct(self) -> bool:
        """Whether no two rows share a target."""
        return self.split.distinct

    def gallery(self) -> Gallery:
        """Each distinct target once, by rising id."""
        kept = self.split.gallery  # for other losses too, and a user's may write into its own
        return Gallery(kept.clone() if self.center is None else centered(kept, self.center), self.split.ids.unique())


@dataclass(frozen=True)
class Shortfall:
    """Why a split, or a sample of one, does not fill one batch.

    Attributes:
        reason: what is short of what.
        most: the largest batch that it fills.
        more: what would fill a larger one.
    """

    reason: str
    most: int
    more: str = "more data"


def check_rows(config: TrainConfig, data: ResidentData) -> None:
    """Refuse a split, or a sample of one, that does not fill one batch.

    Raises:
        UserError: naming the split or the setting, its rows and the batch.
    """
    if short := _shortfall(config, len(data.train), len(data.val) if data.val else None):
        way_on = f"use --batch_size {short.most} or less, or {short.more}"
        if short.most < (smallest := config.loss.smallest_batch):
            way_on = f"{config.loss.name} takes batches of {smallest} or more: use {short.more}, or another --loss_fn"
        raise UserError(f"{data.source}: {short.reason}; {way_on}")


def split_shortfall(config: TrainConfig, pairs: Pairs) -> Shortfall | None:
    """What :func:`check_rows` would refuse, before anything is put on a device."""
    rows = split_rows(pairs, config.split_seed, train_on_val=config.fit == "train+val")
    return _shortfall(config, len(rows.train), len(rows.val) or None)


def _shortfall(config: TrainConfig, train: int, val: int | None) -> Shortfall | None:
    queries, batch, loss = config.eval_queries, config.batch_size, config.loss
    if loss.in_batch and val is not None and queries != "all" and queries <= val and queries < batch:
        reason = (
            f"eval_queries {queries} is less than one batch of {batch}, and {loss.name} is validated on whole batches"
        )
        return Shortfall(reason, queries, f"--eval_queries {batch} or more")
    counted = {"train": train} | ({"val": val} if loss.in_batch and val is not None else {})
    for name, rows in counted.items():
        if rows < batch:
            return Shortfall(f"the {name} split has {rows} rows, fewer than one batch of {batch}", rows)
    return None
