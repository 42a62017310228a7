"""What a run prints: the guide's two lines per epoch, retrieval beside chance, a bar on a terminal."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from losstune.trainer.base.console import say
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.column_names import listed
from losstune.trainer.data.leaks import findings
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.run.history import Record
from losstune.trainer.run.scored import Scored
from losstune.trainer.score.metrics import Chance
from losstune.trainer.score.names import GEOMETRY, RECALL_DEPTHS, at_dims, own_parts


def say_notes(pairs: Pairs, split_seed: int, console: Console) -> None:
    """Say, in a line each, what else the data holds, as a misspelt ``ids``, how it is split, and what it leaks."""
    if pairs.unused:
        say(console, f"Note: not used of {pairs.source}: {listed(pairs.unused)}")
    if pairs.split is not None and not pairs.fixes_validation:
        say(
            console, f"Note: no row of {pairs.source} is val: a quarter of the train ids are, drawn by the split's seed"
        )
    if pairs.blocks is not None and pairs.split is None:
        count = len(np.unique(pairs.blocks))
        say(console, f"Note: split by {pairs.rules.split_by}: {count:,} blocks of rows, each in one split")
    for finding in findings(pairs, split_seed):
        say(console, f"Warning: {finding.text}")


def loss_line(split: str, metrics: Mapping[str, float], config: TrainConfig) -> str:
    """``Train Loss: 3.2145, Cosine Sim: 0.7234, InfoNCE Acc: 28.12% (chance 3.12%)`` for ``split`` train, val, test."""
    get = {name.removeprefix(f"{split}/"): value for name, value in metrics.items() if name.startswith(f"{split}/")}
    title = split.capitalize()
    parts = [f"{title} Loss: {get['loss']:.4f}"] if "loss" in get else []
    if "cosine_sim" in get:
        parts.append(f"Cosine Sim: {get['cosine_sim']:.4f}")
    if "mse" in get:
        parts.append(f"MSE: {get['mse']:.4f}")
    parts += config.loss.part_texts(own_parts(get), config.batch_size)
    line = ", ".join(parts)
    return line if line.startswith(title) else f"{title} {line}"


def retrieval_line(split: str, metrics: Mapping[str, float], chance: Chance) -> str:
    """Full-gallery retrieval of a split, with what a random order would score."""
    name = split.capitalize()
    recalls = ", ".join(f"Recall@{k}: {metrics[f'{split}/recall_at_{k}']:.2%}" for k in RECALL_DEPTHS)
    return (
        f"{name} Retrieval among {chance.gallery}: MRR: {metrics[f'{split}/mrr']:.4f} "
        f"(chance {chance.metrics['mrr']:.4f}), {recalls} (chance@1 {chance.metrics['recall_at_1']:.2%}), "
        f"Median Rank: {metrics[f'{split}/median_rank']:g}"
    )


def prefix_lines(split: str, metrics: Mapping[str, float], config: TrainConfig) -> list[str]:
    """``Val MRR of prefixes: 0.2101 at 32, 0.2833 at 64``, if there are such."""
    found = {prefix.dims: metrics.get(f"{split}/{at_dims(prefix.dims, 'mrr')}") for prefix in config.prefixes}
    texts = [f"{value:.4f} at {dims}" for dims, value in found.items() if value is not None]
    return [f"{split.capitalize()} MRR of prefixes: {', '.join(texts)}"] if texts else []


def geometry_line(split: str, metrics: Mapping[str, float], dim: int) -> str:
    """``Test Geometry: effective rank 21.3 of 32, hubness 0.84, …``; ``dim`` is the highest rank there could be."""
    get = {name: metrics[f"{split}/{name}"] for name in GEOMETRY}
    return (
        f"{split.capitalize()} Geometry: effective rank {get['effective_rank']:.1f} of {dim}, "
        f"hubness {get['hubness']:.2f}, alignment {get['alignment']:.2f}, uniformity {get['uniformity']:.2f}"
    )


def scored_lines(scored: Scored, config: TrainConfig) -> list[str]:
    """All lines of the test split: metrics, retrieval, geometry, and a note for each of its flags."""
    return [
        loss_line("test", scored.metrics, config),
        retrieval_line("test", scored.metrics, scored.chance),
        *prefix_lines("test", scored.metrics, config),
        geometry_line("test", scored.metrics, scored.dim),
        *(f"Note: {flag}" for flag in scored.flags),
    ]


def epoch_lines(record: Record, config: TrainConfig, chance: Chance | None) -> list[str]:
    """All lines of one epoch; ``chance`` is that of the validation targets, None without validation."""
    lines = [f"Epoch {record['epoch']:g}/{config.num_epochs}", loss_line("train", record, config)]
    if "val/loss" in record:
        lines.append(loss_line("val", record, config))
    if "val/mrr" in record and chance is not None:
        lines.append(retrieval_line("val", record, chance))
        lines += prefix_lines("val", record, config)
    return lines


class EpochDisplay:
    """Shows epochs as they end: a progress bar on a terminal, plain lines anywhere else."""

    def __init__(self, config: TrainConfig, chance: Chance | None, console: Console) -> None:
        self._config = config
        self._chance = chance
        self._console = console
        # A bar on a quiet console shows nothing, but would still take sys.stdout over, and lose what the user prints.
        self._bar = Progress(
            TextColumn(config.loss.name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[latest]}"),
            TimeRemainingColumn(),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("epochs", total=config.num_epochs, latest="")
        self._last: Record | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()
        if self._console.is_terminal and self._last is not None:
            self._print(self._last)

    def show(self, record: Record) -> None:
        """Show one more epoch."""
        self._last = record
        if not self._console.is_terminal:
            self._print(record)
            return
        name = self._config.objective if self._config.objective in record else "train/loss"
        latest = f"{name} {record[name]:.4f}" if name in record else "diverged"
        self._bar.update(self._task, completed=int(record["epoch"]), latest=latest)

    def _print(self, record: Record) -> None:
        for line in epoch_lines(record, self._config, self._chance):
            say(self._console, line)
