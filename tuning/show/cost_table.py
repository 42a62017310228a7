"""What the models of a comparison cost, beside their scores."""

from losstune.tuning.confirm.cost import BATCH, Cost
from losstune.tuning.confirm.findings import LABELS, Comparison
from losstune.tuning.confirm.statistics import Interval
from losstune.tuning.show.table import Column, Measured, Table, TableRow


def cost_table(comparison: Comparison) -> Table | None:
    """The picks, their prefixes, and the smallest that may be as good, which comes first; None without their costs."""
    primary = comparison.measures[0]
    models = {
        (cut, row.cost.parameters, row.name): (str(row.loss), row.cost, test[primary])
        for row in comparison.rows
        if row.role == "pick" and row.cost is not None
        for cut, test in {**row.prefixes, row.cost.dims: row.test}.items()
    }
    if (small := comparison.smallest) is not None:
        models[small.cost.dims, small.cost.parameters, small.name] = (small.loss, small.cost, small.test)
    if not models:
        return None
    columns = [
        Column("model"),
        Column(f"test {LABELS[primary]}", short=LABELS[primary]),
        Column("parameters"),
        Column("file"),
        Column("dimensions", short="dims"),
        Column("rows/s, 1 at a time", short="rows/s by 1"),
        Column(f"rows/s, {BATCH} at a time", short=f"by {BATCH}"),
    ]
    return Table(columns, [_row(name, dims, *models[key]) for key in sorted(models) for dims, _, name in [key]])


def _row(name: str, dims: int, loss: str, cost: Cost, test: Interval) -> TableRow:
    counts = [f"{cost.parameters:,}", size_text(cost.file_bytes), str(dims)]
    return TableRow(name, [Measured(test), *counts, speed_text(cost.single), speed_text(cost.batched)], loss)


def size_text(count: int) -> str:
    """``12 kB``, ``1.2 MB``."""
    return f"{count / 1e3:,.0f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def speed_text(speed: float) -> str:
    """Two digits, which is what a speed can be measured to: ``14,000``, ``0.52``."""
    return f"{float(f'{speed:.2g}'):,.0f}" if speed >= 10 else f"{speed:.2g}"
