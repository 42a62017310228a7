"""The figure of quality against cost: all trials of a search by their parameters."""

import math
from collections.abc import Mapping, Sequence

from losstune.tuning.report.figure_parts import INK, Figure, Style, add_end_labels, escaped, layout, padded
from losstune.tuning.study.trial import TrialView

_HEIGHT = 380


def cost_figure(
    trials: Sequence[TrialView], sizes: Mapping[str, int], chosen: set[str], styles: Mapping[str, Style], objective: str
) -> Figure:
    """Every trial's best value against its parameters, and the line of the best that so many parameters reached.

    Args:
        trials: those with a value and a size, at least one, the best first.
        sizes: parameters by the trial's name.
        chosen: names of those that stand for their loss, which have a ring.
    """
    made = layout(_HEIGHT, "parameters of the model", f"best {escaped(objective)}")
    made["yaxis"]["range"] = padded([trial.rank_value for trial in trials], 0.06)
    made["xaxis"] |= {"type": "log", "range": padded([math.log10(sizes[t.name]) for t in trials], 0.06)}
    by_loss: dict[str, list[TrialView]] = {}
    for trial in trials:
        by_loss.setdefault(trial.loss, []).append(trial)
    add_end_labels(made, {loss: own[0].rank_value for loss, own in by_loss.items()}, styles)
    marks = [_marks(own, sizes, chosen, styles[loss]) for loss, own in by_loss.items()]
    return {"data": [_front_line(pareto_front(trials, sizes), sizes), *marks], "layout": made}


def pareto_front(trials: Sequence[TrialView], sizes: Mapping[str, int]) -> list[TrialView]:
    """The trials of which no other has as few parameters and a higher value, the smallest first."""
    front: list[TrialView] = []
    for trial in sorted(trials, key=lambda trial: (sizes[trial.name], -trial.rank_value)):
        if not front or trial.rank_value > front[-1].rank_value:
            front.append(trial)
    return front


def _front_line(front: Sequence[TrialView], sizes: Mapping[str, int]) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [sizes[trial.name] for trial in front],
        "y": [trial.rank_value for trial in front],
        "line": {"shape": "hv", "color": INK, "width": 1.2},
        "hoverinfo": "skip",
    }


def _marks(own: Sequence[TrialView], sizes: Mapping[str, int], chosen: set[str], style: Style) -> Figure:
    rings = [2 if trial.name in chosen else 0 for trial in own]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [sizes[trial.name] for trial in own],
        "y": [trial.rank_value for trial in own],
        "marker": {
            "symbol": style.symbol,
            "color": style.colour,
            "opacity": 0.75,
            "size": [11 if ring else 7 for ring in rings],
            "line": {"color": INK, "width": rings},
        },
        "hovertext": [f"{escaped(t.name)}: {t.rank_value:.4f}<br>{sizes[t.name]:,} parameters" for t in own],
        "hoverinfo": "text",
    }
