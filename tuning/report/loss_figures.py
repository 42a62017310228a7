"""The figures of a report that compare losses: scores, differences, the search, learning curves, rungs."""

from collections.abc import Mapping, Sequence

from losstune.tuning.confirm.findings import LABELS, ComparedArm, Comparison, Pair
from losstune.tuning.confirm.sentences import interval_text
from losstune.tuning.report.figure_parts import (
    INK,
    MUTED,
    Figure,
    NamedInterval,
    Style,
    add_end_labels,
    add_levels,
    add_separators,
    add_verticals,
    escaped,
    layout,
    padded,
    rows_figure,
)
from losstune.tuning.report.insights import LearningCurve, SearchPoint
from losstune.tuning.report.rung_agreement import Agreement
from losstune.tuning.show.comparison import ordered_rows, row_title

_HEIGHT = 380
_GREY = Style(MUTED, "line-ns")


def interval_figure(comparison: Comparison, measure: str, styles: Mapping[str, Style]) -> Figure:
    """Test score of every arm with its 95 % interval, and lines at chance and at ridge regression."""
    arms = ordered_rows(comparison)
    made = rows_figure([_score(arm, measure, styles) for arm in arms], f"test {LABELS[measure]}")
    add_verticals(made["layout"], {name: arm.test[measure].value for name, arm in level_rows(comparison).items()})
    roles = [arm.role for arm in arms]
    add_separators(made["layout"], [i for i in range(1, len(roles)) if roles[i] != roles[i - 1]])
    return made


def level_rows(comparison: Comparison) -> dict[str, ComparedArm]:
    """The rows that lines are drawn for: chance, and the better ridge regression."""
    chance = next((arm for arm in comparison.rows if arm.name == "chance"), None)
    return {name: arm for name, arm in (("chance", chance), ("ridge", comparison.ridge)) if arm is not None}


def _score(arm: ComparedArm, measure: str, styles: Mapping[str, Style]) -> NamedInterval:
    own, name = arm.test[measure], escaped(row_title(arm))
    style = _GREY if arm.loss is None else styles[arm.loss]
    if arm.role == "start":
        style = Style(style.colour, f"{style.symbol}-open")
    hover = f"{name}: {interval_text(own)}<br>{escaped(arm.name)}"
    return NamedInterval(name, own.value, own.low, own.high, f"{own.value:.3f}", hover, style)


def difference_figure(pairs: Sequence[Pair], styles: Mapping[str, Style]) -> Figure:
    """Paired differences of losses on one measure; a filled mark is a claim, in the better loss's colour."""
    ordered = sorted(pairs, key=lambda pair: (-pair.difference.value, pair.first))
    made = rows_figure([_difference(pair, styles) for pair in ordered], "difference", 0.0)
    add_verticals(made["layout"], {"equal": 0.0})
    return made


def _difference(pair: Pair, styles: Mapping[str, Style]) -> NamedInterval:
    gap, name = pair.difference, f"{escaped(pair.first)} − {escaped(pair.second)}"
    better = pair.first if pair.verdict == "first" else None
    style = Style(styles[better].colour, "circle") if better else Style(MUTED, "circle-open")
    hover = f"{name}: {interval_text(gap, signed=True)}<br>p {pair.p_adjusted:.3g} after Holm"
    return NamedInterval(name, gap.value, gap.low, gap.high, f"{gap.value:+.3f}", hover, style)


def search_figure(
    curves: Mapping[str, Sequence[SearchPoint]],
    levels: Mapping[str, float],
    objective: str,
    styles: Mapping[str, Style],
) -> Figure:
    """Best so far of each loss against the epochs that it has spent; a mark is a new best."""
    values = [step.best for own in curves.values() for step in own]
    near = min(values) - (max(values) - min(values))
    made = layout(_HEIGHT, "epochs spent on the loss", f"best {escaped(objective)} so far")
    made["yaxis"]["range"] = padded([*values, *(level for level in levels.values() if level >= near)], 0.06)
    made["xaxis"]["range"] = [0, 1.02 * max(step.spent for own in curves.values() for step in own)]
    add_levels(made, levels)
    add_end_labels(made, {loss: own[-1].best for loss, own in curves.items()}, styles)
    return {"data": [_best_so_far(own, styles[loss]) for loss, own in curves.items()], "layout": made}


def _best_so_far(own: Sequence[SearchPoint], style: Style) -> Figure:
    first: dict[str, int] = {}
    news = [first.setdefault(step.trial, i) == i for i, step in enumerate(own)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [step.spent for step in own],
        "y": [step.best for step in own],
        "line": {"shape": "hv", "color": style.colour, "width": 2},
        "marker": {"symbol": style.symbol, "size": [9 if new else 0 for new in news], "opacity": 1},
        "hovertext": [f"{escaped(step.trial)}: {step.best:.4f}<br>after {step.spent} epochs" for step in own],
        "hoverinfo": "text",
    }


def learning_figure(
    curves: Mapping[str, LearningCurve], levels: Mapping[str, float], objective: str, styles: Mapping[str, Style]
) -> Figure:
    """The objective by epoch: the mean over seeds, and a band that holds the middle 80 % of them."""
    values = [value for own in curves.values() for value in (*own.low, *own.high)]
    made = layout(_HEIGHT, "epoch", escaped(objective))
    made["yaxis"]["range"] = padded([*values, *levels.values()], 0.06)
    made["xaxis"]["range"] = [0, max(epoch for own in curves.values() for epoch in own.epochs) + 0.5]
    add_levels(made, levels)
    add_end_labels(made, {loss: own.mean[-1] for loss, own in curves.items()}, styles)
    bands = [part for loss, own in curves.items() if max(own.runs) > 1 for part in _band(own, styles[loss])]
    return {"data": bands + [_mean(loss, own, styles[loss]) for loss, own in curves.items()], "layout": made}


def _band(own: LearningCurve, style: Style) -> list[Figure]:
    edge = {"type": "scatter", "mode": "lines", "x": own.epochs, "hoverinfo": "skip", "line": {"width": 0}}
    red, green, blue = (int(style.colour[i : i + 2], 16) for i in (1, 3, 5))
    return [
        {**edge, "y": own.low},
        {**edge, "y": own.high, "fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},0.14)"},
    ]


def _mean(loss: str, own: LearningCurve, style: Style) -> Figure:
    steps = zip(own.epochs, own.mean, own.low, own.high, own.runs, strict=True)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": own.epochs,
        "y": own.mean,
        "line": {"color": style.colour, "width": 2.5},
        "hovertext": [
            f"{escaped(loss)}, epoch {epoch}, {runs} run{'s' * (runs != 1)}<br>{mean:.4f} [{low:.4f}, {high:.4f}]"
            for epoch, mean, low, high, runs in steps
        ],
        "hoverinfo": "text",
    }


def agreement_figure(search: Sequence[Agreement], confirm: Sequence[Agreement]) -> Figure:
    """Share of pairs that keep their order from one epoch to a later one."""
    rows = [_order("search", one, Style(MUTED, "circle-open")) for one in search]
    rows += [_order("confirmation", one, Style(INK, "circle")) for one in confirm]
    made = rows_figure(rows, "pairs in the same order", 0.45, 1.0)
    made["layout"]["xaxis"] |= {"tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]}
    add_verticals(made["layout"], {"chance": 0.5})
    return made


def _order(source: str, one: Agreement, style: Style) -> NamedInterval:
    name = f"{source}, {one.epoch} → {one.later or 'end'}"
    hover = f"{name}: {one.pairs} pairs, {one.runs} runs, Kendall’s τ {one.tau:.2f}"
    return NamedInterval(name, one.share, one.low, one.high, f"{100 * one.share:.0f} %", hover, style)
