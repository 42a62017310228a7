"""The figures of a report about one loss's parameters: which of them decide, and which of their values are good."""

import json
import math
from collections.abc import Sequence

from losstune.tuning.report.figure_parts import INK, MUTED, Figure, Style, escaped, layout, mixed, named_axis, padded
from losstune.tuning.report.insights import Importance
from losstune.tuning.space.search_space import Choices, Parameter, Range
from losstune.tuning.study.trial import TrialView, best_trial

_HEIGHT, _TOP = 244, 10
_GOLDEN = 0.618034
"""Multiples of it are spread evenly: a jitter that is the same in every report."""


def importance_figure(found: Importance, style: Style, most: int = 8) -> Figure:
    """Shares of the parameters that decide most; pale bars are within what chance gives."""
    names = list(reversed(list(found.shares)[:most]))
    made = layout(_HEIGHT, "importance", "")
    made["xaxis"] |= {"range": [0, 1.05 * max(found.shares.values())], "showticklabels": False, "showgrid": False}
    made["xaxis"]["ticks"] = ""
    made["yaxis"] |= named_axis()
    made["margin"] |= {"l": 10, "r": 42, "t": _TOP}
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [found.shares[name] for name in names],
        "y": [escaped(name) for name in names],
        "text": [f"{100 * found.shares[name]:.0f} %" for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {
            "color": [style.colour if found.clear(name) else mixed(style.colour, 0.3) for name in names],
            "line": {"width": 0},
        },
        "hovertext": [f"{escaped(name)}: chance reaches {100 * found.chance[name]:.0f} %" for name in names],
        "hoverinfo": "text",
    }
    return {"data": [bars], "layout": made | {"bargap": 0.35}}


def slice_figure(parameter: Parameter, trials: Sequence[TrialView], style: Style, objective: str) -> Figure:
    """Each trial's best value against one parameter: filled if never cut, ringed if best, × if it has no value."""
    ended = [trial for trial in trials if trial.ending is not None]
    own = [trial for trial in ended if parameter.name in trial.point]
    made = layout(_HEIGHT, escaped(parameter.name), f"best {escaped(objective)}")
    made["margin"]["t"] = _TOP
    made["yaxis"]["range"] = padded([t.rank_value for t in ended if t.rank_value > -math.inf] or [0.0, 1.0], 0.08)
    made["xaxis"] |= _axis(parameter.domain)
    valued = [trial for trial in own if trial.rank_value > -math.inf]
    best = best_trial(own)
    groups: tuple[tuple[list[TrialView], str, str, int], ...] = (
        ([t for t in valued if t.state != "complete"], f"{style.symbol}-open", mixed(style.colour, 0.6), 7),
        ([t for t in valued if t.state == "complete"], style.symbol, style.colour, 8),
        ([best] if best is not None else [], "circle-open", INK, 15),
        ([t for t in own if t.rank_value == -math.inf], "x-thin-open", MUTED, 8),
    )
    floor = made["yaxis"]["range"][0]
    return {"data": [_marks(parameter, *group, floor) for group in groups if group[0]], "layout": made}


def _marks(parameter: Parameter, trials: list[TrialView], symbol: str, colour: str, size: int, floor: float) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [_place(parameter, trial) for trial in trials],
        "y": [max(trial.rank_value, floor) for trial in trials],
        "marker": {"symbol": symbol, "color": colour, "size": size, "line": {"width": 1.5, "color": colour}},
        "cliponaxis": False,
        "hovertext": [_text(parameter, trial) for trial in trials],
        "hoverinfo": "text",
    }


def _text(parameter: Parameter, trial: TrialView) -> str:
    value = f"{trial.rank_value:.4f}" if trial.rank_value > -math.inf else "no value"
    chosen = trial.point[parameter.name]
    shown = f"{chosen:.4g}" if isinstance(chosen, float) else str(chosen)
    reason = escaped(trial.ending.reason if trial.ending else "")
    return f"{escaped(trial.name)}: {value}<br>{escaped(parameter.name)} {escaped(shown)}, {reason}"


def _place(parameter: Parameter, trial: TrialView) -> float:
    """A choice's place is its position in the list, a little to the side, so that trials do not hide each other."""
    value = trial.point[parameter.name]
    if isinstance(parameter.domain, Range):
        return float(value)
    position = next(i for i, choice in enumerate(parameter.domain.values) if choice == value)
    return position + 0.5 * (trial.number * _GOLDEN % 1 - 0.5)


def _axis(domain: Range | Choices) -> Figure:
    if isinstance(domain, Choices):
        places = list(range(len(domain.values)))
        names = [escaped(_plain(value)) for value in domain.values]
        return {"tickvals": places, "ticktext": names, "range": [-0.6, len(places) - 0.4], "showgrid": False}
    if not domain.log:
        return {"range": padded([domain.low, domain.high], 0.05), "nticks": 5}
    ticks = log_ticks(domain.low, domain.high)
    ends = padded([math.log10(domain.low), math.log10(domain.high)], 0.05)
    return {"type": "log", "range": ends, "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within a range, and twice and five times them where those alone are fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5)):
        ticks = [float(f"{step}e{power}") for power in powers for step in steps]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            break
    return inside


def _plain(value: object) -> str:
    """A value as YAML writes it."""
    return value if isinstance(value, str) else json.dumps(value)
