"""The tables that only the page has, and how a cell stands there. Those of a comparison are the terminal's."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from losstune.tuning.confirm.plan import Plan
from losstune.tuning.confirm.sentences import interval_text
from losstune.tuning.report.insights import Fate, fate_order
from losstune.tuning.show.table import NONE, Cell, Column, Measured, Noted, Table, TableRow
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, ranked


def stacked(cell: Cell) -> tuple[str, str]:
    """What stands in a cell of the page, and what stands small under it."""
    match cell:
        case Measured(limits, signed):
            value, edges = interval_text(limits, signed=signed).split(" ", 1)
            return value, edges
        case Noted(text, note):
            return text, note
        case str():
            return cell, ""


def search_table(trials: Mapping[str, Sequence[TrialView]], objective: str, titles: Mapping[str, str]) -> Table:
    """The best trial of each loss: all that is known without a confirmation."""
    rows = []
    for loss, own in trials.items():
        best = next(iter(ranked(own)), None)
        epochs = str(sum(trial.epochs for trial in own))
        cells = [f"{best.rank_value:.4f}", best.name] if best else [NONE, NONE]
        rows.append(TableRow(titles[loss], [cells[0], str(len(own)), epochs, cells[1]], loss))
    names = ("loss", f"best {objective}, one seed", "trials", "epochs")
    return Table([*map(Column, names), Column("trial, and run in MLflow", words=True)], rows)


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
    return Table([Column("setting"), *(Column(study.spec.title(loss)) for loss in chosen)], rows)


def _searched(space: SearchSpace) -> list[str]:
    return [*(parameter.name for parameter in space.parameters), *space.derived]


def _setting(settings: Mapping[str, Any], start: Mapping[str, Any], name: str) -> Cell:
    """A parameter that does not exist beside the others chosen has no value."""
    if name not in settings:
        return NONE
    own = _plain(settings[name])
    before = _plain(start[name]) if name in start else own
    return own if own == before else Noted(own, f"({before})")


def fates_table(fates: Mapping[str, Sequence[Fate]], titles: Mapping[str, str]) -> Table:
    """Trials by state and reason, with the epochs that they spent."""
    names = fate_names(fates)
    rows = []
    for loss, own in fates.items():
        by_name = {fate.name: fate for fate in own}
        cells = [_spent(by_name[name]) if name in by_name else NONE for name in names]
        cells += [str(sum(fate.trials for fate in own)), str(sum(fate.epochs for fate in own))]
        rows.append(TableRow(titles[loss], cells, loss))
    return Table([Column(name) for name in ("loss", *names, "trials", "epochs")], rows)


def fate_names(fates: Mapping[str, Sequence[Fate]]) -> list[str]:
    """All the ends that trials of a study had, in order."""
    return sorted({fate.name for own in fates.values() for fate in own}, key=fate_order)


def fate_look(name: str, names: Sequence[str]) -> str:
    """The style class of an end in the bars: cuts are paler the earlier they were."""
    if not name.startswith("cut at rung"):
        return name.replace(" ", "-")
    cuts = [other for other in names if other.startswith("cut at rung")]
    return f"cut-{min(cuts.index(name), 4)}"


def _spent(fate: Fate) -> Cell:
    return Noted(str(fate.trials), f"{fate.epochs} epoch{'s' * (fate.epochs != 1)}")


def failures(trials: Mapping[str, Sequence[TrialView]], most: int = 20, named: int = 3) -> Iterator[str]:
    """Why trials failed: each reason once, the commonest first, with the first trials that it ended."""
    by_reason: dict[str, list[str]] = {}
    for trial in (trial for own in trials.values() for trial in own):
        if trial.state == "failed" and trial.ending:
            by_reason.setdefault(trial.ending.reason, []).append(trial.name)
    common = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    for reason, names in common[:most]:
        others = f" and {len(names) - named} more" if len(names) > named else ""
        yield f"{reason}: {', '.join(names[:named])}{others}"
    if len(common) > most:
        left = len(common) - most
        yield f"and {left} other reason{'s' * (left > 1)}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
