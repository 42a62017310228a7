"""A comparison on the terminal: one table, then sentences."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from losstune.trainer.run.show import say
from losstune.tuning.confirm.findings import TEST_METRICS, ComparedArm, Comparison
from losstune.tuning.confirm.sentences import LABELS, answer_sentences, guide_sentence
from losstune.tuning.confirm.statistics import Difference, Interval
from losstune.tuning.show.progress import time_text

BASELINES = {
    "chance": "chance",
    "mean_target": "mean target",
    "ridge": "ridge",
    "ridge_centered": "ridge, centred",
    "untrained": "untrained encoder",
}


FULL_WIDTH = 104
"""Columns from which all metrics stand in one table."""


def plus_minus(interval: Interval | Difference, *, signed: bool = False) -> str:
    """``0.357 ±0.031``: the intervals are symmetric, and this fits a narrow terminal."""
    return f"{interval.value:{'+' if signed else ''}.3f} ±{(interval.high - interval.low) / 2:.3f}"


def row_title(row: ComparedArm) -> str:
    """``infonce``, ``infonce untuned``, ``ridge, centred``."""
    if row.role == "baseline":
        return BASELINES[row.name]
    return f"{row.loss_fn} untuned" if row.role == "start" else str(row.loss_fn)


def ordered_rows(comparison: Comparison) -> list[ComparedArm]:
    """Picks first, the best validation mean on top; then the untuned starts, then the baselines."""
    order = ("pick", "start", "baseline")
    return sorted(comparison.rows, key=lambda row: (order.index(row.role), -(row.validation or 0.0)))


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print everything: scores, what tuning gained, what it cost, signs of trouble, and the conclusion."""
    say(
        console,
        f"study {comparison.study}, confirmation {comparison.confirmation}: {comparison.seeds} seeds, "
        f"{comparison.targets} test targets of {comparison.data_source}; means with 95 % intervals",
    )
    tables = (TEST_METRICS,) if console.width >= FULL_WIDTH else (TEST_METRICS[:3], TEST_METRICS[3:])
    for metrics in tables:
        console.print(_scores(comparison, metrics))
    console.print(_tuning(comparison))
    console.print(_geometry(comparison))
    for sentence in answer_sentences(comparison):
        say(console, f"• {sentence}")
    if comparison.guide:
        say(console, "\nThe guide's claims on this data:")
    for claim in comparison.guide:
        say(console, f"• {guide_sentence(claim, comparison.objective)}")
    if comparison.partings:
        count = len(comparison.partings)
        say(console, f"\nValidation loss and objective part ways in {count} run{'s' * (count > 1)}, the first of them:")
        say(console, f"• {comparison.partings[0]}")


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Every number, and the sentences."""
    return {
        **comparison.model_dump(),
        "enough_seeds": comparison.enough_seeds,
        "answer": answer_sentences(comparison),
        "guide_sentences": [guide_sentence(claim, comparison.objective) for claim in comparison.guide],
    }


def _table(first: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _scores(comparison: Comparison, metrics: tuple[str, ...]) -> Table:
    table = _table("test", *(LABELS[metric] for metric in metrics))
    for row in ordered_rows(comparison):
        table.add_row(row_title(row), *(plus_minus(row.test[metric]) for metric in metrics))
    return table


def _tuning(comparison: Comparison) -> Table:
    primary = comparison.measures[0]
    table = _table("tuned", f"gain in {LABELS[primary]}", "search", "confirmed", "too high by", "epochs", "training")
    for row in ordered_rows(comparison):
        if row.role == "pick":
            gain = row.gain.get(primary)
            table.add_row(
                row.loss_fn,
                plus_minus(gain, signed=True) if gain else "is untuned",
                f"{row.search_value:.3f}",
                f"{row.validation:.3f}",
                f"{row.optimism:+.3f}",
                str(row.search_epochs),
                time_text(row.search_seconds),
            )
    return table


def _geometry(comparison: Comparison) -> Table:
    table = _table("embedding", "effective rank", "hubness", "alignment", "uniformity")
    for row in ordered_rows(comparison):
        if row.role == "pick":
            signs = row.geometry
            table.add_row(
                row.loss_fn,
                f"{signs['effective_rank']:.1f}",
                f"{signs['hubness']:.2f}",
                f"{signs['alignment']:.3f}",
                f"{signs['uniformity']:.3f}",
            )
    return table
