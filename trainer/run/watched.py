"""Gradients that say where the first NaN or infinity of a run arose; the numbers stay the same."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from losstune.trainer.base.errors import one_line
from losstune.trainer.model.encoder import Encoder
from losstune.trainer.model.packed import Packed
from losstune.trainer.run.batches import Batch
from losstune.trainer.run.device import random_state
from losstune.trainer.run.first_nonfinite import first_nonfinite
from losstune.trainer.run.gradients import CenteredLoss, EncoderGradients, Gradients, Trained


class WatchedGradients:
    """Gradients as another makes them. A batch that gives a NaN or an infinity is passed through again, and traced.

    That is done once, with the same weights and random numbers, by autograd also where the first time was by formulas.
    """

    def __init__(self, gradients: Gradients, model: nn.Module, loss: CenteredLoss, device: torch.device) -> None:
        self._gradients = gradients
        self._model = model
        self._loss = loss
        self._device = device
        self._batch = 0
        self._found: tuple[str, int] | None = None

    @property
    def pack(self) -> Packed | None:
        return self._gradients.pack

    @contextmanager
    def stepping(self) -> Iterator[None]:
        self._batch = 0
        with self._gradients.stepping():
            yield

    def prepared(self, inputs: Tensor, targets: Tensor, ids: Tensor) -> Batch:
        return self._gradients.prepared(inputs, targets, ids)

    def aims(self, targets: Tensor) -> Tensor:
        return self._gradients.aims(targets)

    def add(self, batch: Batch, share: float) -> Trained:
        self._batch += 1
        before = random_state(self._device)
        trained = self._gradients.add(batch, share)
        if self._found is None and not _all_finite([*_tensors(trained), *self._made()]):
            after = random_state(self._device)
            before.restore()
            with self._other_gradients(), torch.inference_mode(False), torch.enable_grad():
                self._found = self._traced(lambda: self._again(batch, share)), self._batch
            after.restore()
        return trained

    def origin(self, epoch: int, validate: Callable[[], Iterable[Tensor]]) -> str:
        """Where it arose, of a run that diverged in this epoch.

        Args:
            validate: validates again, and returns what it predicted; asked only where training met nothing.
        """
        if self._found is not None:
            text, batch = self._found
            return f"{text}, in epoch {epoch}, batch {batch}"
        return f"{self._traced(validate)}, validating after epoch {epoch}"

    def _traced(self, work: Callable[[], Iterable[Tensor]]) -> str:
        modules = {"model": self._model, "loss": self._loss.module}
        for top, module in modules.items():
            for name, parameter in module.named_parameters():
                if not _all_finite([parameter]):
                    return f"the step before made {top}.{name} not finite, by finite gradients"
        try:
            origin = first_nonfinite(work, modules)
        except Exception as error:  # code of the user's may do what can not be followed
            return f"not traced: {type(error).__name__}: {one_line(error)}"
        return str(origin) if origin else "not met again when the same was computed a second time"

    def _again(self, batch: Batch, share: float) -> list[Tensor]:
        batch = tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, batch)  # have no graph as yet
        if isinstance(self._gradients, EncoderGradients) and isinstance(self._model, Encoder):
            predictions = self._model.embed(batch.inputs)
            batch = batch._replace(aims=self._loss.centered(batch.targets))
            output = self._loss.of_batch(self._loss.centered(predictions), batch)
            self._loss.carry_back(output, share)
            trained = Trained(output, predictions)
        else:
            trained = self._gradients.add(batch, share)
        return [*_tensors(trained), *self._made()]

    def _made(self) -> list[Tensor]:
        return [parameter.grad for parameter in self._parameters() if parameter.grad is not None]

    def _parameters(self) -> list[nn.Parameter]:
        return [*self._model.parameters(), *self._loss.module.parameters()]

    @contextmanager
    def _other_gradients(self) -> Iterator[None]:
        """What is added to gradients in this block is gone after it."""
        kept = [(parameter, parameter.grad) for parameter in self._parameters()]
        for parameter, _ in kept:
            parameter.grad = None
        try:
            yield
        finally:
            for parameter, gradient in kept:
                parameter.grad = gradient


def _tensors(trained: Trained) -> list[Tensor]:
    return [trained.output.loss, *trained.output.parts.values(), trained.predictions]


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
