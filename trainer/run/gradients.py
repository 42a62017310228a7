"""Gradients of a batch: by autograd for any model and loss, at once or in parts, by formulas for the encoder."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import Precision, TrainConfig
from losstune.trainer.losses import LossOutput, centered
from losstune.trainer.losses.base import ClosedForm, OwnNegatives, RightTargets, asked_for, called, closed_form
from losstune.trainer.model.encoder import Encoder
from losstune.trainer.model.encoder_passes import EncoderPasses
from losstune.trainer.model.packed import Packed
from losstune.trainer.run.batches import Batch
from losstune.trainer.run.device import autocast, given_to, random_state
from losstune.trainer.score.parts import checked_output


@dataclass(frozen=True)
class CenteredLoss:
    """A loss about a centre: ``center`` (d,) is subtracted from predictions and targets first, if there is one."""

    module: nn.Module
    center: Tensor | None
    name: str

    def __call__(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, right: RightTargets | None = None
    ) -> LossOutput:
        return self._of_centered(self.centered(predictions), self.centered(targets), ids, right, None)

    def of_batch(self, predictions: Tensor, batch: Batch) -> LossOutput:
        """Of predictions that the centre has been subtracted from, as it has from what the batch aims at."""
        return self._of_centered(predictions, batch.aims, batch.ids, batch.right, batch.negatives)

    def _of_centered(
        self,
        predictions: Tensor,
        targets: Tensor,
        ids: Tensor,
        right: RightTargets | None,
        negatives: OwnNegatives | None,
    ) -> LossOutput:
        return checked_output(called(self.module, predictions, targets, ids, right, negatives), self.name)

    def carry_back(self, output: LossOutput, share: float) -> None:
        """Add the gradients of ``share`` times the loss.

        Raises:
            UserError: it has none.
        """
        if not output.loss.requires_grad:
            raise UserError(
                f"loss {self.name}: found a loss that depends on nothing that is trained; expected one made of the "
                "predictions by torch alone, without detach(), item() or NumPy; where a batch costs nothing, "
                "(0 * predictions).sum()"
            )
        output.loss.backward(None if share == 1 else torch.full_like(output.loss, share))

    def centered(self, rows: Tensor) -> Tensor:
        """Rows (…, d) about the centre."""
        return centered(rows, self.center)


class Trained(NamedTuple):
    """What a batch gave: the loss, and the predictions (B, d) that it was taken at; without a graph."""

    output: LossOutput
    predictions: Tensor


class Gradients(Protocol):
    """Of one model and one loss.

    Attributes:
        pack: parameters that lie in one buffer, with their gradients, if there are such.
    """

    @property
    def pack(self) -> Packed | None: ...

    def stepping(self) -> AbstractContextManager[object]:
        """Around steps of training: the mode of autograd that they want, entered once for many, for entering costs."""
        ...

    def prepared(self, inputs: Tensor, targets: Tensor, ids: Tensor) -> Batch:
        """What batches are cut from: n rows, of which all is made that does not wait for a step."""
        ...

    def aims(self, targets: Tensor) -> Tensor:
        """Targets (n, d) as the loss takes them."""
        ...

    def add(self, batch: Batch, share: float) -> Trained:
        """Add a batch's gradients, times ``share``, to those that are there."""
        ...


def gradients_of(model: nn.Module, loss: CenteredLoss, config: TrainConfig, device: torch.device) -> Gradients:
    """The fastest way for a model that will be trained by this config.

    Raises:
        UserError: the batch is to pass in parts through a model in which its rows act on each other.
    """
    if config.batch_parts > 1:
        _check_rows_alone(model)
        return PartedGradients(model, loss, config.precision, device, parts=config.batch_parts)
    if isinstance(model, Encoder) and device.type == "cpu" and config.precision != "bfloat16":
        return EncoderGradients(EncoderPasses(model), loss, closed_form(loss.module))
    return AutogradGradients(model, loss, config.precision, device)


@dataclass(frozen=True)
class AutogradGradients:
    """Of any model, in any arithmetic."""

    model: nn.Module
    loss: CenteredLoss
    precision: Precision
    device: torch.device
    pack: None = None

    def stepping(self) -> AbstractContextManager[object]:
        return nullcontext()

    def prepared(self, inputs: Tensor, targets: Tensor, ids: Tensor) -> Batch:
        return Batch(inputs, targets, self.aims(targets), ids)

    def aims(self, targets: Tensor) -> Tensor:
        return self.loss.centered(targets)

    def add(self, batch: Batch, share: float) -> Trained:
        predictions = self._forward(batch.inputs)
        output = self.loss.of_batch(self.loss.centered(predictions), batch)
        self.loss.carry_back(output, share)
        return Trained(LossOutput(output.loss.detach(), output.parts), predictions.detach())

    def _forward(self, inputs: Tensor) -> Tensor:
        with autocast(self.precision, self.device):  # left each time: it keeps casts of weights, maybe without a graph
            embeddings: Tensor = self.model(given_to(self.model, inputs))
            return embeddings.float()


@dataclass(frozen=True, kw_only=True)
class PartedGradients(AutogradGradients):
    """In the memory of a part, while the loss sees the batch whole (Gao et al., 2021, GradCache).

    Each part passes forward twice, with the same random numbers: first without a graph, for the predictions of the
    whole batch and the loss's gradient in them, then with one, to carry the part's share of that gradient back.
    """

    parts: int

    def add(self, batch: Batch, share: float) -> Trained:
        pieces = batch.inputs.split(-(-len(batch.ids) // self.parts))
        states, seen = [], []
        with torch.no_grad():
            for rows in pieces:
                states.append(random_state(self.device))
                seen.append(self._forward(rows))
        predictions = torch.cat(seen).requires_grad_()
        output = self.loss.of_batch(self.loss.centered(predictions), batch)
        self.loss.carry_back(output, share)
        if predictions.grad is not None:  # a loss that does not see the model moves nothing of it
            for rows, state, gradient in zip(pieces, states, predictions.grad.split(len(pieces[0])), strict=True):
                state.restore()
                self._forward(rows).backward(gradient)
        return Trained(LossOutput(output.loss.detach(), output.parts), predictions.detach())


def _check_rows_alone(model: nn.Module) -> None:
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise UserError(
                f"batch_parts: the model's {name or 'whole'} is a {type(module).__name__}, whose result depends on the "
                "rows it sees together; allowed: 1, or a model with GroupNorm or LayerNorm in its place"
            )


@dataclass(frozen=True)
class EncoderGradients:
    """Of the encoder by formulas; of the loss by its own one, or by autograd if it has none."""

    passes: EncoderPasses
    loss: CenteredLoss
    closed: ClosedForm | None

    @property
    def pack(self) -> Packed:
        return self.passes.pack

    def stepping(self) -> AbstractContextManager[object]:
        return torch.no_grad() if self.closed is None else torch.inference_mode()

    def prepared(self, inputs: Tensor, targets: Tensor, ids: Tensor) -> Batch:
        return Batch(self.passes.prepared(inputs), targets, self.aims(targets), ids)

    def aims(self, targets: Tensor) -> Tensor:
        aims = self.loss.centered(targets)
        return aims if self.closed is None else self.closed.prepared(aims)

    def add(self, batch: Batch, share: float) -> Trained:
        return self._by_autograd(batch, share) if self.closed is None else self._by_formula(self.closed, batch, share)

    def _by_formula(self, closed: ClosedForm, batch: Batch, share: float) -> Trained:
        predictions = self.passes.forward(batch.inputs)
        also = asked_for(closed.with_gradient, batch.right, batch.negatives)
        output, gradient = closed.with_gradient(self.loss.centered(predictions), batch.aims, batch.ids, share, **also)
        self.passes.backward(gradient)
        return Trained(output, predictions)

    def _by_autograd(self, batch: Batch, share: float) -> Trained:
        predictions = self.passes.forward(batch.inputs)
        leaf = self.loss.centered(predictions).requires_grad_()
        with torch.enable_grad():
            output = self.loss.of_batch(leaf, batch)
            self.loss.carry_back(output, share)
        if leaf.grad is not None:  # a loss that does not see the model moves nothing of it
            self.passes.backward(leaf.grad)
        return Trained(LossOutput(output.loss.detach(), output.parts), predictions.detach())
