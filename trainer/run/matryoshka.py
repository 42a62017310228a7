"""A loss of prefixes of the embeddings: what any loss is of each, added up."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.config.loss_config import Gallery, LossConfig, TrainTargets
from losstune.trainer.config.matryoshka import Prefix
from losstune.trainer.losses import LossModule, LossOutput
from losstune.trainer.losses.base import OwnNegatives, RightTargets, asked_for, called, closed_form
from losstune.trainer.score.names import at_dims
from losstune.trainer.score.parts import checked_output


def loss_module(config: LossConfig, prefixes: Sequence[Prefix], train: TrainTargets) -> nn.Module:
    """The loss of a run: of whole embeddings, or of prefixes, each by a module of its own.

    Args:
        prefixes: the last one is the whole; none where the loss is of that alone.

    Raises:
        UserError: the user's config fails to build one.
    """
    if not prefixes:
        return _built(config, train)
    whole = prefixes[-1]
    built = [(whole, _built(config, train))]  # first: what it draws is what it draws without prefixes
    built += [(p, _built(config, _PrefixTargets(train, p.dims))) for p in prefixes[:-1] if p.weight]
    by_formula = all(closed_form(module) is not None for _, module in built)
    return (ClosedMatryoshkaLoss if by_formula else MatryoshkaLoss)(config.name, built)


def _built(config: LossConfig, train: TrainTargets) -> nn.Module:
    try:
        module: object = config.build(train)
    except (UserError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the user's own code, whatever it stumbles over
        raise UserError(f"loss {config.name}: its build failed: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"loss {config.name}: its build returned {type(module).__name__}; expected a LossModule")
    return module


def loss_of_whole(module: nn.Module) -> nn.Module:
    """The loss of whole embeddings in what :func:`loss_module` has made."""
    return module.losses[0] if isinstance(module, MatryoshkaLoss) else module


@dataclass(frozen=True)
class _PrefixTargets:
    """Training targets of which a loss sees the first ``dims`` dimensions."""

    train: TrainTargets
    dims: int

    @property
    def distinct(self) -> bool:
        """By id: a prefix may be shared by targets that differ further on."""
        return self.train.distinct

    def gallery(self) -> Gallery:
        """Each distinct target once."""
        whole = self.train.gallery()
        return Gallery(whole.targets[:, : self.dims].contiguous(), whole.ids)


class MatryoshkaLoss(LossModule):
    """Σ_k w_k · loss(p[:k], t[:k]) over prefixes of k dimensions (Kusupati et al., 2022, eq. 1).

    Each prefix has a loss of its own: what a loss learns, as a temperature, it learns for each.

    Logs what the loss of the whole logs, and of each prefix, as ``dim_64/loss``, its loss without the weight and what
    that logs. Range: that of the loss, times the sum of the weights.
    """

    def __init__(self, name: str, built: Sequence[tuple[Prefix, nn.Module]]) -> None:
        """Of the whole, which comes first, and of shorter prefixes."""
        super().__init__()
        self.name = name
        self.prefixes = [prefix for prefix, _ in built]
        self.losses = nn.ModuleList(module for _, module in built)

    def forward(
        self,
        predictions: Tensor,
        targets: Tensor,
        ids: Tensor,
        right: RightTargets | None = None,
        negatives: OwnNegatives | None = None,
    ) -> LossOutput:
        outputs = []
        for prefix, loss in zip(self.prefixes, self.losses, strict=True):
            p, t = (rows[:, : prefix.dims] for rows in (predictions, targets))
            outputs.append(checked_output(called(loss, p, t, ids, right, _cut(negatives, prefix.dims)), self.name))
        return self._sum(outputs)

    def _sum(self, outputs: Sequence[LossOutput]) -> LossOutput:
        whole = outputs[0]
        total = whole.loss * self.prefixes[0].weight
        parts = dict(whole.parts)
        for prefix, output in zip(self.prefixes, outputs, strict=True):
            parts[at_dims(prefix.dims, "loss")] = output.loss.detach()
            if output is not whole:
                total = total + prefix.weight * output.loss
                parts |= {at_dims(prefix.dims, name): value for name, value in output.parts.items()}
        return LossOutput(total, parts)


class ClosedMatryoshkaLoss(MatryoshkaLoss):
    """The same of a loss that has its gradient as a formula."""

    def prepared(self, targets: Tensor) -> Tensor:
        """As they are: a prefix is brought to length one for itself."""
        return targets

    def with_gradient(
        self,
        predictions: Tensor,
        targets: Tensor,
        ids: Tensor,
        share: float,
        right: RightTargets | None = None,
        negatives: OwnNegatives | None = None,
    ) -> tuple[LossOutput, Tensor]:
        """The same with its gradient, of each dimension from all prefixes that have it."""
        outputs, gradient = [], torch.zeros_like(predictions)
        for prefix, loss in zip(self.prefixes, self.losses, strict=True):
            closed = closed_form(loss)
            assert closed is not None
            cut = _cut(negatives, prefix.dims)
            cut = None if cut is None else cut._replace(targets=closed.prepared(cut.targets))
            also = asked_for(closed.with_gradient, right, cut)
            p, t = predictions[:, : prefix.dims], closed.prepared(targets[:, : prefix.dims])
            output, own = closed.with_gradient(p, t, ids, share * prefix.weight, **also)
            gradient[:, : prefix.dims] += own
            outputs.append(output)
        return self._sum(outputs), gradient


def _cut(negatives: OwnNegatives | None, dims: int) -> OwnNegatives | None:
    return None if negatives is None else negatives._replace(targets=negatives.targets[..., :dims])
