"""The training loop: one epoch, one evaluation, state in and out."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from losstune.trainer.base.errors import translating
from losstune.trainer.config.matryoshka import with_whole
from losstune.trainer.config.model_config import FactoryConfig
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.columns import Column
from losstune.trainer.data.resident import CenteredTargets, ResidentData, SplitTensors
from losstune.trainer.losses.base import OwnNegatives
from losstune.trainer.model.averaged_weights import AveragedWeights
from losstune.trainer.model.encoder import Encoder, build_model, check_output
from losstune.trainer.model.frozen import frozen_digest, load_trained_state, trained_state
from losstune.trainer.model.optimizer import ClippedAdamW
from losstune.trainer.run.batches import Batch, batches_of, grouped, one_row_refused
from losstune.trainer.run.device import autocast, embed_pieces, seeded
from losstune.trainer.run.epoch_means import EpochMeans
from losstune.trainer.run.gradients import CenteredLoss, Trained, gradients_of
from losstune.trainer.run.hard_negatives import MinedNegatives, all_of, given_to, miner_of
from losstune.trainer.run.history import End, Record
from losstune.trainer.run.matryoshka import loss_module
from losstune.trainer.run.schedule import lr_at
from losstune.trainer.run.watched import WatchedGradients
from losstune.trainer.score.metrics import embedding_metrics
from losstune.trainer.score.parts import SameParts
from losstune.trainer.score.prefixes import prefix_scores
from losstune.trainer.score.ranking import NonFiniteError


class Trainer:
    """Trains one model with one loss. All randomness of an epoch follows from (seed, epoch).

    Attributes:
        epoch: epochs trained so far.
        best_epoch, best_value: where the objective was highest; 0 and −inf before the first epoch.
        center: (d,) the training targets' mean, which loss and retrieval subtract; None without ``center``.
        frozen: SHA-256 of the model's frozen weights, None where all are trained.
        end: why the run has ended, None while it may go on.
        origin: where the NaN or infinity that it diverged of arose; "" unless ``debug_nan`` and one came.
    """

    def __init__(self, config: TrainConfig, data: ResidentData, *, debug_nan: bool = False) -> None:
        """With fresh weights.

        Args:
            debug_nan: look at each batch, and for the origin of what is not finite; slower, with the same numbers.
        """
        self.config = config
        self.data = data
        self.device = data.train.inputs.device
        self.epoch = 0
        self.best_epoch = 0
        self.best_value = -math.inf
        self.best_state: dict[str, Tensor] = {}
        self.end: End | None = None
        self.origin = ""
        self.center = data.train.mean_target if config.center else None
        self._prefixes = with_whole(config.prefixes, data.train.targets.shape[1])
        with seeded(config.seed, 0, self.device):
            self.model = self._new_model()
            seen = CenteredTargets(data.train, self.center)
            self.loss = loss_module(config.loss, self._prefixes, seen).to(self.device)
        self._loss_of = CenteredLoss(self.loss, self.center, config.loss.name)
        self._gradients = gradients_of(self.model, self._loss_of, config, self.device)
        self._watched: WatchedGradients | None = None
        if debug_nan:
            self._gradients = self._watched = WatchedGradients(self._gradients, self.model, self._loss_of, self.device)
        parameters = (*self.model.parameters(), *self.loss.parameters())
        self.optimizer = ClippedAdamW(parameters, config.weight_decay, config.clip_norm, self._gradients.pack)
        self._average = self._new_average()
        self._miner = miner_of(config.loss, self._loss_of, data.train, self._gradients)
        self._mined: MinedNegatives | None = None
        self._given = given_to(self._loss_of, data.train, self._gradients)
        self._lr = config.lr

    def _new_model(self) -> nn.Module:
        config, train = self.config.model, self.data.train
        output_dim = train.targets.shape[1]
        model = build_model(config, tuple(train.inputs.shape[1:]), output_dim)
        self.frozen = frozen_digest(model)
        if isinstance(model, Encoder):
            model.fit_inputs(train.moments)
            if self.center is not None:
                model.fit_targets(self.center)
        model = model.to(self.device)
        if isinstance(config, FactoryConfig):
            with autocast(self.config.precision, self.device):
                few = torch.arange(min(2, len(train)), device=self.device)
                check_output(model, config, train.inputs.index_select(0, few), output_dim)
        return model

    def _new_average(self) -> AveragedWeights | None:
        if self.config.average_epochs is None:
            return None
        return AveragedWeights(self.model, self.config.average_epochs, self.steps_per_epoch, self._gradients.pack)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return math.ceil(self._batches_per_epoch() / self.config.accumulate)

    def run_epoch(self) -> Record:
        """Train one epoch, evaluate, and judge; sets :attr:`end` when the run is over."""
        if self.end is not None:
            raise RuntimeError(f"the run has ended: {self.end}")
        began = time.perf_counter()
        self.epoch += 1
        with seeded(self.config.seed, self.epoch, self.device):
            metrics = {f"train/{name}": value for name, value in self._train().items()}
        if self.data.val is not None and all(map(math.isfinite, metrics.values())):
            try:
                metrics |= {f"val/{name}": value for name, value in self.evaluate(self.data.val).items()}
            except NonFiniteError:
                metrics["val/loss"] = math.nan
        self._judge(metrics)
        if self.end == "diverged":
            self.look_for_origin()
        seconds = time.perf_counter() - began
        return {"epoch": self.epoch, "time": time.time(), "seconds": seconds, "lr": self._lr, **metrics}

    @torch.no_grad()
    def evaluate(self, split: SplitTensors) -> dict[str, float]:
        """Loss and metrics on a split: ``loss``, the loss's own parts, and the embedding metrics, of prefixes too.

        Raises:
            NonFiniteError: the model predicts NaN or infinity.
        """
        predictions = self.predict(split.inputs)
        scored = (predictions, split.targets, split.gallery, split.positive, self.center, split.others)
        result = embedding_metrics(*scored)
        cut = prefix_scores(embedding_metrics, [prefix.dims for prefix in self._prefixes[:-1]], *scored)
        return self._evaluate_loss(predictions, split) | result | cut

    def predict(self, inputs: Column) -> Tensor:
        """Embeddings (N, d) float32 of inputs (N, …), in order; by the averaged weights, where there are such."""
        with self._evaluated():
            return torch.cat(list(embed_pieces(self.model, inputs, self.config, self.device)))

    def _evaluated(self) -> AbstractContextManager[None]:
        """A block in which the averaged weights are in place, where there are such."""
        return nullcontext() if self._average is None else self._average.in_place()

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on; tensors are references, to be saved before training goes on."""
        average = {} if self._average is None else {"average": self._average.state_dict()}
        mined = {} if self._mined is None else {"hard_negatives": self._mined.state_dict()}
        origin = {"origin": self.origin} if self.origin else {}
        return {
            **average,
            **mined,
            **origin,
            "model": trained_state(self.model),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "end": self.end,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state` was taken."""
        load_trained_state(self.model, state["model"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._miner is not None and "hard_negatives" in state:
            self._mined = self._miner.restored(state["hard_negatives"])
        self.epoch, self.best_epoch = (_count(state[name]) for name in ("epoch", "best_epoch"))
        self.best_value = float(state["best_value"])
        self.origin = str(state.get("origin", ""))
        self.end = "diverged" if state["end"] == "diverged" else self._used_up()

    def run_batches(self, count: int) -> None:
        """Train on the first batches only, to see how long one takes."""
        self.model.train()
        rows = min(len(self.data.train), count * self.config.batch_size)
        with self._gradients.stepping():
            for group in self._groups(torch.arange(rows, device=self.device)):
                self._step(group)

    def _train(self) -> dict[str, float]:
        """One pass over the training rows; means over rows of loss, cosine similarity and loss parts."""
        if self._miner is not None and self._miner.due(self.epoch):
            with self._evaluated():
                pieces = embed_pieces(self.model, self.data.train.inputs, self.config, self.device)
                self._mined = self._miner.mine(pieces)
        self.model.train()
        self.loss.train()
        order = torch.randperm(len(self.data.train), device=self.device)
        if self.config.loss.in_batch:  # a partial batch would have fewer negatives
            order = order[: self._batches_per_epoch() * self.config.batch_size]
        batches = self._batches_per_epoch()
        means = EpochMeans(self.config.loss.name)
        done = 0
        with self._gradients.stepping():
            for group in self._groups(order):
                done += len(group)
                self._lr = lr_at(self.config, (self.epoch - 1) + done / batches)
                for batch, (output, predictions) in zip(group, self._step(group), strict=True):
                    means.add(output, predictions, batch.targets)
        return means.result()

    def _batches_per_epoch(self) -> int:
        whole, rest = divmod(len(self.data.train), self.config.batch_size)
        return whole + (rest > 0 and not self.config.loss.in_batch)

    def _groups(self, order: Tensor) -> Iterator[list[Batch]]:
        """The batches of each step."""
        size = self.config.batch_size
        batches = batches_of(self.data.train, order, size, self._gradients.prepared, self._negatives)
        return grouped(batches, self.config.accumulate)

    def _negatives(self, rows: Tensor) -> OwnNegatives | None:
        return all_of(self._given if self._mined is None else [*self._given, self._mined], rows)

    def _step(self, group: list[Batch]) -> list[Trained]:
        """One step of the optimizer, on the batches' gradients averaged by their rows."""
        self.optimizer.zero_grad()
        rows = sum(len(batch.ids) for batch in group)
        results = [self._trained(batch, len(batch.ids) / rows) for batch in group]
        self.optimizer.step(self._lr)
        if self._average is not None:
            self._average.update()
        return results

    def _trained(self, batch: Batch, share: float) -> Trained:
        if len(batch.ids) > 1:
            return self._gradients.add(batch, share)
        rows, size = len(self.data.train), self.config.batch_size
        with translating(ValueError if size > 1 else (), lambda error: one_row_refused(error, rows, size)):
            return self._gradients.add(batch, share)

    def _evaluate_loss(self, predictions: Tensor, split: SplitTensors) -> dict[str, float]:
        self.loss.eval()
        size = self.config.batch_size if self.config.loss.in_batch else len(split)
        sums: dict[str, float] = {}
        same_parts = SameParts(self.config.loss.name, "validation")
        batches = len(split) // size
        for index in range(batches):
            rows = slice(index * size, (index + 1) * size)
            right = split.right(torch.arange(rows.start, rows.stop, device=split.ids.device))
            output = self._loss_of(predictions[rows], split.targets[rows], split.ids[rows], right)
            same_parts.check(output.parts)
            for name, value in {"loss": output.loss, **output.parts}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return {name: total / batches for name, total in sums.items()}

    def look_for_origin(self) -> None:
        """Set :attr:`origin`, where something was not finite and that is looked for."""
        if self._watched is not None:
            self.origin = self._watched.origin(self.epoch, self._validated_again)

    def _validated_again(self) -> Iterator[Tensor]:
        """As after an epoch; the predictions are for who wants to know where one is not finite."""
        if (split := self.data.val) is not None:
            yield self.predict(split.inputs)
            with suppress(NonFiniteError):
                self.evaluate(split)

    def _judge(self, metrics: dict[str, float]) -> None:
        if not all(map(math.isfinite, metrics.values())):
            self.end = "diverged"
            return
        nothing = self.data.val is None  # to validate on: the last epoch is best
        value = float(self.epoch) if nothing else metrics[self.config.objective]
        if value > self.best_value:
            self.best_epoch, self.best_value = self.epoch, value
            self.best_state = self._evaluated_state()
        self.end = self._used_up()

    def _evaluated_state(self) -> dict[str, Tensor]:
        """A copy of the state that is evaluated: the trained one, with the averages in place where there are such."""
        with self._evaluated():
            return {name: tensor.detach().clone() for name, tensor in trained_state(self.model).items()}

    def _used_up(self) -> End | None:
        if self.epoch >= self.config.num_epochs:
            return "epochs"
        if self.config.patience is not None and self.epoch - self.best_epoch >= self.config.patience:
            return "patience"
        return None


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"found {value!r} where a number of epochs was expected")
    return value
