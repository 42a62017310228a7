"""A plain PyTorch training loop, as one would write it by hand: the other side of the benchmarks here.

``DataLoader`` over a ``TensorDataset``, ``torch.optim.AdamW`` as it comes, ``.item()`` after every batch. Model, loss,
metrics and split are the product's own, so that both sides compute and log the same numbers and differ only in how
they get there.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from losstune.trainer.config.model_config import ModelConfig
from losstune.trainer.data.columns import Column, moments_of
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import CenteredTargets, SplitTensors, TrainSplit, split_tensors, train_split
from losstune.trainer.data.splits import split_rows
from losstune.trainer.losses import LossModule
from losstune.trainer.losses.infonce import InfoNceConfig
from losstune.trainer.model.encoder import Encoder
from losstune.trainer.score.metrics import cosine_similarity, embedding_metrics

CPU = torch.device("cpu")
CLIP_NORM = 1.0
WEIGHT_DECAY = 0.01


class Splits(NamedTuple):
    """Rows as the product splits them, on the CPU."""

    train: TrainSplit
    val: SplitTensors
    test: SplitTensors


def splits(data: str) -> Splits:
    """Those of pairs, named as ``losstune launch --data`` names them."""
    pairs = load_pairs(data)
    rows = split_rows(pairs, split_seed=0)
    val, test = (split_tensors(pairs, own, CPU) for own in (rows.val, rows.test))
    return Splits(train_split(pairs, rows.train, CPU), val, test)


def training_epochs(
    settings: Mapping[str, Any], train: TrainSplit, val: SplitTensors, device: torch.device = CPU
) -> Iterator[dict[str, float]]:
    """Train with InfoNCE for as long as the caller asks for epochs.

    Args:
        settings: ``temperature``, ``batch_size``, ``lr``, ``hidden_dim``, ``depth``, ``dropout``.
        train, val: on the CPU, as one has them for a ``DataLoader``.
        device: where each batch is sent, and the model is trained.

    Yields:
        The metrics of one epoch, and ``seconds``: what its training and evaluation took.
    """
    architecture = {name: settings[name] for name in ("hidden_dim", "depth", "dropout")}
    model = Encoder(ModelConfig(**architecture), tuple(train.inputs.shape[1:]), train.targets.shape[1])
    model.fit_inputs(moments_of(train.inputs))
    model.to(device)
    loss_fn = InfoNceConfig(temperature=settings["temperature"]).build(CenteredTargets(train, None)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"], weight_decay=WEIGHT_DECAY)
    train_set = TensorDataset(in_memory(train.inputs), in_memory(train.targets), train.ids)
    val_set = TensorDataset(in_memory(val.inputs), val.targets, val.ids)
    train_loader = DataLoader(train_set, batch_size=settings["batch_size"], shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=settings["batch_size"])
    while True:
        began = time.perf_counter()
        metrics = train_one_epoch(model, loss_fn, optimizer, train_loader, device)
        metrics |= evaluate(model, loss_fn, val_loader, val, device)
        yield {**metrics, "seconds": time.perf_counter() - began}


def in_memory(column: Column) -> torch.Tensor:
    """All rows of a column, which is not on disk here."""
    assert isinstance(column, torch.Tensor)
    return column


def train_one_epoch(
    model: nn.Module,
    loss_fn: LossModule,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    device: torch.device,
) -> dict[str, float]:
    """One pass over the training rows; means over batches."""
    model.train()
    total_loss = total_cosine = total_accuracy = 0.0
    for batch in loader:
        inputs, targets, ids = (part.to(device) for part in batch)
        optimizer.zero_grad()
        predictions = model(inputs)
        output = loss_fn(predictions, targets, ids)
        output.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        total_loss += output.loss.item()
        total_accuracy += output.parts["infonce_acc"].item()
        with torch.no_grad():
            total_cosine += cosine_similarity(predictions, targets).mean().item()
    means = {"loss": total_loss, "cosine_sim": total_cosine, "infonce_acc": total_accuracy}
    return {f"train/{name}": total / len(loader) for name, total in means.items()}


@torch.no_grad()
def evaluate(
    model: nn.Module, loss_fn: LossModule, loader: DataLoader[Any], val: SplitTensors, device: torch.device
) -> dict[str, float]:
    """Loss over the full batches, and the metrics over all rows."""
    model.eval()
    embedded = []
    total_loss = total_accuracy = 0.0
    full_batches = len(val) // (loader.batch_size or 1)
    for index, batch in enumerate(loader):
        inputs, targets, ids = (part.to(device) for part in batch)
        predictions = model(inputs)
        embedded.append(predictions)
        if index < full_batches:
            output = loss_fn(predictions, targets, ids)
            total_loss += output.loss.item()
            total_accuracy += output.parts["infonce_acc"].item()
    metrics = {"loss": total_loss / full_batches, "infonce_acc": total_accuracy / full_batches}
    targets, gallery, positive = (part.to(device) for part in (val.targets, val.gallery, val.positive))
    metrics |= embedding_metrics(torch.cat(embedded), targets, gallery, positive)
    return {f"val/{name}": value for name, value in metrics.items()}
