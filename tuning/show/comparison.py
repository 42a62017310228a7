"""A comparison's tables, for the terminal and for the page, and all of it on the terminal."""

from collections.abc import Sequence
from typing import Any, get_args

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.tuning.confirm.findings import LABELS, ComparedArm, Comparison, Role
from losstune.tuning.confirm.sentences import answer_sentences, guide_sentence
from losstune.tuning.confirm.short_answer import MARK, short_answer
from losstune.tuning.show.cost_table import cost_table
from losstune.tuning.show.progress import time_text
from losstune.tuning.show.table import NONE, Cell, Column, Measured, Noted, Table, TableRow, TerminalTable, number_text

BASELINES = {
    "chance": "chance",
    "mean_target": "mean target",
    "ridge": "ridge",
    "ridge_centered": "ridge, centred",
    "untrained": "untrained encoder",
}
SIGN_DIGITS = {"effective_rank": 1, "hubness": 2, "alignment": 3, "uniformity": 3}


def row_title(row: ComparedArm) -> str:
    """``infonce``, ``infonce untuned``, ``ridge, centred``."""
    if row.role == "baseline":
        return BASELINES[row.name]
    return f"{row.title} untuned" if row.role == "start" else row.title


def ordered_rows(comparison: Comparison) -> list[ComparedArm]:
    """Picks first, best validation mean on top and what stopped early below; then untuned starts, then baselines."""
    order = get_args(Role)
    return sorted(comparison.rows, key=lambda row: (order.index(row.role), -row.seeds, -(row.validation or 0.0)))


def scores_table(comparison: Comparison, metrics: Sequence[str]) -> Table:
    """Every arm's test scores by some metrics, with intervals, and the runs that they come from."""
    columns = [Column("test"), *(Column(LABELS[metric]) for metric in metrics)]
    rows = [
        TableRow(
            row_title(row),
            [*(Measured(row.test[metric]) for metric in metrics), _runs(row)],
            row.loss,
            quiet=row.role != "pick",
        )
        for row in ordered_rows(comparison)
    ]
    return Table([*columns, Column("runs in MLflow", words=True, page_only=True)], rows)


def _runs(row: ComparedArm) -> Cell:
    """The names of an arm's runs: ``infonce-0007``, and under it ``/seed-00 … 09``."""
    if row.role == "baseline":
        return f"confirm/{row.name}"
    return Noted(row.name, "/seed-00" + (f" … {row.seeds - 1:02d}" if row.seeds > 1 else ""))


def tuning_table(comparison: Comparison) -> Table:
    """What tuning gained, what the search promised, what held, and what it cost."""
    primary = comparison.measures[0]
    columns = [
        Column("loss", short="tuned"),
        Column(f"gain in test {LABELS[primary]}", short=f"gain in {LABELS[primary]}"),
        *(Column(name) for name in ("search", "confirmed", "too high by", "epochs", "training")),
    ]
    untuned = {row.name for row in comparison.rows if row.role == "start"}
    picks = [row for row in ordered_rows(comparison) if row.role == "pick"]
    return Table(columns, [_tuned(row, primary, "is untuned" if row.name in untuned else NONE) for row in picks])


def _tuned(row: ComparedArm, primary: str, without: str) -> TableRow:
    """``without`` is what stands where there is no gain: the pick is the untuned start, or that one failed."""
    gain = row.gain.get(primary)
    cells: list[Cell] = [
        Measured(gain, signed=True) if gain else without,
        number_text(row.search_value),
        number_text(row.validation),
        number_text(row.optimism, signed=True),
        str(row.search_epochs),
        time_text(row.search_seconds),
    ]
    return TableRow(row.title, cells, row.loss)


def geometry_table(comparison: Comparison) -> Table:
    """Signs of a collapsed or hubby embedding, means over seeds."""
    columns = [Column("loss", short="embedding"), *(Column(sign.replace("_", " ")) for sign in SIGN_DIGITS)]
    rows = [
        TableRow(
            row.title,
            [
                *(number_text(row.geometry.get(sign), digits) for sign, digits in SIGN_DIGITS.items()),
                "; ".join(row.flags) or "none",
            ],
            row.loss,
        )
        for row in ordered_rows(comparison)
        if row.role == "pick"
    ]
    return Table([*columns, Column("signs of trouble", words=True, page_only=True)], rows)


def answer_table(comparison: Comparison) -> Table:
    """Every arm on the two measures that are claimed on, and what tuning gained: what a terminal has room for."""
    primary, _ = comparison.measures
    columns = [
        Column("test"),
        *(Column(LABELS[measure]) for measure in comparison.measures),
        Column(f"gain in {LABELS[primary]}", spare=1),
    ]
    rows = [
        TableRow(
            row_title(row),
            [
                *(Measured(row.test[measure]) for measure in comparison.measures),
                Measured(row.gain[primary], signed=True) if primary in row.gain else "",
            ],
            row.loss,
            quiet=row.role != "pick",
        )
        for row in ordered_rows(comparison)
    ]
    return Table(columns, rows)


def show_answer(comparison: Comparison, console: Console, at: str = "") -> None:
    """Print the answer in a few lines, then one table.

    Args:
        at: the options that bring a command to the study's place.
    """
    for sentence in short_answer(comparison):
        say(console, f"{MARK}{sentence}")
    say(console, "")
    console.print(TerminalTable(answer_table(comparison), _title(comparison)))
    say(console, f"losstune compare {comparison.study}{at} --all shows all pairs, all metrics and signs of trouble")


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print everything: the answer in all its sentences, then scores, what tuning gained, what it cost, bad signs."""
    for sentence in answer_sentences(comparison):
        say(console, f"{MARK}{sentence}")
    if comparison.guide:
        say(console, "\nThe guide's claims on this data:")
    for claim in comparison.guide:
        say(console, f"{MARK}{guide_sentence(claim, comparison.objective)}")
    if comparison.partings:
        count = len(comparison.partings)
        say(console, f"\nValidation loss and objective part ways in {count} run{'s' * (count > 1)}, the first of them:")
        say(console, f"{MARK}{comparison.partings[0]}")
    say(console, f"\n{_title(comparison)}")
    for table in _fitting_scores(comparison, console):
        console.print(table)
    console.print(TerminalTable(tuning_table(comparison)))
    console.print(TerminalTable(geometry_table(comparison)))
    if costs := cost_table(comparison):
        console.print(TerminalTable(costs))


def _title(comparison: Comparison) -> str:
    return (
        f"study {comparison.study}, confirmation {comparison.confirmation}: {comparison.seeds_text} seeds, "
        f"{comparison.targets} test targets of {comparison.data_source}; means with 95 % intervals"
    )


def _fitting_scores(comparison: Comparison, console: Console) -> list[TerminalTable]:
    """The scores in one table, or on a narrow terminal in as many as it takes."""
    metrics = comparison.metrics
    for count in range(1, len(metrics) + 1):
        size = -(-len(metrics) // count)
        parts = [metrics[start : start + size] for start in range(0, len(metrics), size)]
        tables = [TerminalTable(scores_table(comparison, part)) for part in parts]
        if all(table.fits(console) for table in tables):
            break
    return tables


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Every number, and the sentences."""
    return {
        **comparison.model_dump(),
        "enough_seeds": comparison.enough_seeds,
        "answer": answer_sentences(comparison),
        "guide_sentences": [guide_sentence(claim, comparison.objective) for claim in comparison.guide],
    }
