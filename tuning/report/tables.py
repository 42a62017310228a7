"""The tables of a report, as plain text for its template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from losstune.tuning.confirm.findings import TEST_METRICS, ComparedArm, Comparison
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.confirm.sentences import LABELS, interval_text
from losstune.tuning.report.insights import Fate, fate_order
from losstune.tuning.show.comparison import ordered_rows, row_title
from losstune.tuning.show.progress import time_text
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, ranked

NONE = "–"


@dataclass(frozen=True)
class TableRow:
    """One row; ``loss_fn`` gives its mark, None for what belongs to no loss. A quiet row is beside the point."""

    name: str
    cells: list[str]
    loss_fn: str | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """Column titles, that of the names first; what follows a line break in a cell is shown small, under the rest.

    Columns from ``text_from`` on hold words, the others numbers.
    """

    columns: list[str]
    rows: list[TableRow]
    text_from: int = 99

    @property
    def marked(self) -> bool:
        """Whether rows carry the mark of their loss."""
        return any(row.loss_fn is not None for row in self.rows)


def scores_table(comparison: Comparison) -> Table:
    """Every arm's test scores with intervals, and the runs that they come from."""
    rows = [
        TableRow(
            row_title(row),
            [*(_stacked(interval_text(row.test[metric])) for metric in TEST_METRICS), runs_text(row, comparison.seeds)],
            row.loss_fn,
            quiet=row.role != "pick",
        )
        for row in ordered_rows(comparison)
    ]
    return Table(["test", *(LABELS[metric] for metric in TEST_METRICS), "runs in MLflow"], rows, len(TEST_METRICS) + 1)


def runs_text(row: ComparedArm, seeds: int) -> str:
    """The names of an arm's runs: ``infonce-0007``, and under it ``/seed-00 … 09``."""
    if row.role == "baseline":
        return f"confirm/{row.name}"
    return f"{row.name}\n/seed-00" + (f" … {seeds - 1:02d}" if seeds > 1 else "")


def tuning_table(comparison: Comparison) -> Table:
    """What the search promised, what held, what tuning gained, and what it cost."""
    primary = comparison.measures[0]
    columns = ["loss", "search", "confirmed", "too high by", f"gain in test {LABELS[primary]}", "epochs", "training"]
    return Table(columns, [_tuning(row, primary) for row in ordered_rows(comparison) if row.role == "pick"])


def _tuning(row: ComparedArm, primary: str) -> TableRow:
    gain = row.gain.get(primary)
    cells = [
        _number(row.search_value),
        _number(row.validation),
        _number(row.optimism, signed=True),
        _stacked(interval_text(gain, signed=True)) if gain else "is untuned",
        str(row.search_epochs),
        time_text(row.search_seconds),
    ]
    return TableRow(str(row.loss_fn), cells, row.loss_fn)


def geometry_table(comparison: Comparison) -> Table:
    """Signs of a collapsed or hubby embedding, means over seeds."""
    signs = {"effective_rank": 1, "hubness": 2, "alignment": 3, "uniformity": 3}
    rows = [
        TableRow(
            str(row.loss_fn),
            [
                *(_number(row.geometry.get(sign), digits) for sign, digits in signs.items()),
                "; ".join(row.flags) or "none",
            ],
            row.loss_fn,
        )
        for row in ordered_rows(comparison)
        if row.role == "pick"
    ]
    return Table(["loss", *(sign.replace("_", " ") for sign in signs), "signs of trouble"], rows, len(signs) + 1)


def search_table(trials: Mapping[str, Sequence[TrialView]], objective: str) -> Table:
    """The best trial of each loss: all that is known without a confirmation."""
    rows = []
    for loss, own in trials.items():
        best = next(iter(ranked(own)), None)
        epochs = str(sum(trial.epochs for trial in own))
        cells = [f"{best.rank_value:.4f}", best.name] if best else [NONE, NONE]
        rows.append(TableRow(loss, [cells[0], str(len(own)), epochs, cells[1]], loss))
    return Table(["loss", f"best {objective}, one seed", "trials", "epochs", "trial, and run in MLflow"], rows, 4)


def settings_table(study: Study, chosen: Mapping[str, TrialView], plan: Plan | None) -> Table:
    """The searched settings of each loss's choice; in brackets the untuned start's where that differs."""
    spaces = study.spec.search_spaces()
    names = list(dict.fromkeys(name for loss in chosen for name in _searched(spaces[loss])))
    starts = {arm.name: arm.settings for arm in plan.arms} if plan else {}
    rows = []
    for name in names:
        cells = []
        for loss, trial in chosen.items():
            settings = spaces[loss].settings(trial.point)
            start = starts[plan.starts[loss]] if plan else {}
            cells.append(_setting(settings, start, name) if name in _searched(spaces[loss]) else NONE)
        rows.append(TableRow(name, cells))
    return Table(["setting", *chosen], rows)


def _searched(space: SearchSpace) -> list[str]:
    return [*(parameter.name for parameter in space.parameters), *space.derived]


def _setting(settings: Mapping[str, Any], start: Mapping[str, Any], name: str) -> str:
    """A parameter that does not exist beside the others chosen has no value."""
    if name not in settings:
        return NONE
    own = _plain(settings[name])
    before = _plain(start[name]) if name in start else own
    return own if own == before else f"{own}\n({before})"


def fates_table(fates: Mapping[str, Sequence[Fate]]) -> Table:
    """Trials by state and reason, with the epochs that they spent."""
    names = fate_names(fates)
    rows = []
    for loss, own in fates.items():
        by_name = {fate.name: fate for fate in own}
        cells = [_spent(by_name[name]) if name in by_name else NONE for name in names]
        rows.append(TableRow(loss, [*cells, str(sum(f.trials for f in own)), str(sum(f.epochs for f in own))], loss))
    return Table(["loss", *names, "trials", "epochs"], rows)


def fate_names(fates: Mapping[str, Sequence[Fate]]) -> list[str]:
    """All the ends that trials of a study had, in order."""
    return sorted({fate.name for own in fates.values() for fate in own}, key=fate_order)


def fate_look(name: str, names: Sequence[str]) -> str:
    """The style class of an end in the bars: cuts are paler the earlier they were."""
    if not name.startswith("cut at rung"):
        return name.replace(" ", "-")
    cuts = [other for other in names if other.startswith("cut at rung")]
    return f"cut-{min(cuts.index(name), 4)}"


def _spent(fate: Fate) -> str:
    return f"{fate.trials}\n{fate.epochs} epoch{'s' * (fate.epochs != 1)}"


def failures(trials: Mapping[str, Sequence[TrialView]], most: int = 20) -> Iterator[str]:
    """Failed trials with their reasons, the first ones."""
    failed = [trial for own in trials.values() for trial in own if trial.state == "failed" and trial.ending]
    for trial in failed[:most]:
        yield f"{trial.name}: {trial.ending.reason if trial.ending else ''}"
    if len(failed) > most:
        yield f"and {len(failed) - most} more"


def _number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    return NONE if value is None else f"{value:{'+' if signed else ''}.{digits}f}"


def _stacked(interval: str) -> str:
    return interval.replace(" [", "\n[", 1)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
