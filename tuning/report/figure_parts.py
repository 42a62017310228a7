"""What all figures of a report share: a loss's look, axes, lines at known levels, labels at the ends of curves.

A figure is plain Plotly JSON, data and layout, drawn in the reader's browser. Text that came from a user is escaped
with :func:`escaped`, because Plotly reads HTML tags in labels.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figure = dict[str, Any]

INK, MUTED, GRID = "#1c2530", "#5f6b78", "#e4e8ec"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_COLOURS = ("#0067a5", "#c8500a", "#00805e", "#93328e", "#8a6d00", "#4a4a4a")
"""After Okabe and Ito: told apart with any colour vision, and dark enough for text on white."""
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
_DOTTED = {"color": MUTED, "width": 1.2, "dash": "dot"}
_BELOW = {"layer": "below"}
_LEFT, _TOP, _BOTTOM = 54, 26, 46
_LABEL_PIXELS = 15
_LETTER_PIXELS = 8.4


@dataclass(frozen=True)
class Style:
    """How a loss looks in every figure."""

    colour: str
    symbol: str


def loss_styles(losses: Iterable[str]) -> dict[str, Style]:
    """A colour and a mark for each loss, in the study's order; once all colours are used, marks move on by one."""
    count = len(_COLOURS)
    return {loss: Style(_COLOURS[i % count], _SYMBOLS[(i + i // count) % count]) for i, loss in enumerate(losses)}


def escaped(text: object) -> str:
    """Text as Plotly shows it literally."""
    return html.escape(str(text))


def mixed(colour: str, share: float) -> str:
    """A colour on white, ``share`` of it."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def padded(values: Sequence[float], share: float) -> list[float]:
    """An axis range: the values with room on both sides."""
    low, high = min(values), max(values)
    room = share * (high - low) or 0.05 * abs(high) or 0.5
    return [low - room, high + room]


def layout(height: int, x: str, y: str) -> Figure:
    """The layout of every figure; axes do not zoom, so that a finger on a figure scrolls the page.

    Args:
        height: in pixels.
        x, y: titles of the axes.
    """
    axis = {
        "fixedrange": True,
        "zeroline": False,
        "gridcolor": GRID,
        "linecolor": MUTED,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": GRID,
        "automargin": False,
    }
    title = {"font": {"size": 12, "color": MUTED}, "standoff": 8}
    return {
        "height": height,
        "margin": {"l": _LEFT, "r": 12, "t": _TOP, "b": _BOTTOM, "pad": 0},
        "font": {"family": _FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": MUTED, "font": {"color": INK}, "align": "left"},
        "xaxis": {**axis, "title": {"text": x, **title}, "nticks": 6},
        "yaxis": {**axis, "title": {"text": y, **title}, "nticks": 7},
        "shapes": [],
        "annotations": [],
    }


@dataclass(frozen=True)
class NamedInterval:
    """One named value with its interval; ``text`` stands beside it, ``hover`` shows under a pointer."""

    name: str
    value: float
    low: float
    high: float
    text: str
    hover: str
    style: Style


def rows_figure(rows: Sequence[NamedInterval], x: str, *also: float) -> Figure:
    """Named values with intervals, the first row on top.

    Args:
        x: title of the axis.
        also: values that the axis takes in besides the intervals.
    """
    made = layout(len(rows) * 27 + _TOP + _BOTTOM, x, "")
    low, high = padded([edge for row in rows for edge in (row.low, row.high)] + list(also), 0.07)
    made["xaxis"] |= {"range": [low, high + 0.2 * (high - low)], "nticks": 5}
    made["yaxis"] |= named_axis() | {"range": [-0.7, len(rows) - 0.3]}
    made["margin"]["l"] = 10
    made["annotations"] = [_beside(row) for row in rows]
    return {"data": [_mark(row) for row in reversed(rows)], "layout": made}


def named_axis() -> Figure:
    """An axis of names: no grid, and as wide as the names."""
    return {"showgrid": False, "automargin": True, "ticklen": 6, "tickcolor": "rgba(0,0,0,0)", "nticks": 0}


def _mark(row: NamedInterval) -> Figure:
    colour = row.style.colour
    ends = {"array": [row.high - row.value], "arrayminus": [row.value - row.low]}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [row.value],
        "y": [row.name],
        "error_x": {"type": "data", "symmetric": False, **ends, "color": colour, "thickness": 2, "width": 4},
        "marker": {"symbol": row.style.symbol, "color": colour, "size": 10, "line": {"width": 2, "color": colour}},
        "hovertext": [row.hover],
        "hoverinfo": "text",
    }


def _beside(row: NamedInterval) -> Figure:
    note = {**_note(row.text), "font": {"size": 11, "color": row.style.colour}}
    return {**note, "x": row.high, "y": row.name, "xanchor": "left", "xshift": 5}


def add_verticals(made: Figure, levels: Mapping[str, float]) -> None:
    """Named dotted lines across all rows; a name too near the one before it goes a line higher."""
    low, high = made["xaxis"]["range"]
    before = -1.0
    lifted = False
    for name, value in sorted(levels.items(), key=lambda level: level[1]):
        place = (value - low) / (high - low)
        lifted = place - before < 0.14 and not lifted
        before = place
        made["shapes"].append(
            {"type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1, "line": _DOTTED, **_BELOW}
        )
        made["annotations"].append(
            {**_note(name), "x": value, "yref": "paper", "y": 1, "yanchor": "bottom", "yshift": 12 * lifted}
        )


def add_separators(made: Figure, places: Sequence[int]) -> None:
    """Thin lines over the rows of these numbers, counted from the top."""
    top = made["yaxis"]["range"][1] - 0.2
    for place in places:
        height = top - place
        line = {"color": GRID, "width": 1}
        made["shapes"].append(
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}
        )


def add_levels(made: Figure, levels: Mapping[str, float]) -> None:
    """Named dotted lines from left to right; a level far below the axis is named at its foot."""
    low, high = made["yaxis"]["range"]
    inside = {name: value for name, value in levels.items() if low <= value <= high}
    at_right = {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom"}
    for name, value in inside.items():
        made["shapes"].append(
            {"type": "line", "y0": value, "y1": value, "xref": "paper", "x0": 0, "x1": 1, "line": _DOTTED, **_BELOW}
        )
        made["annotations"].append({**_note(f"{name} {value:.3f}"), **at_right, "y": value})
    under = [f"{name} {value:.3f}" for name, value in levels.items() if value < low]
    if under:
        made["annotations"].append({**_note("↓ below: " + ", ".join(under)), **at_right, "yref": "paper", "y": 0})


def add_end_labels(made: Figure, ends: Mapping[str, float], styles: Mapping[str, Style]) -> None:
    """Name each curve beside its end, and keep the names apart."""
    low, high = made["yaxis"]["range"]
    pixels = made["height"] - made["margin"]["t"] - made["margin"]["b"]
    order = sorted(ends, key=lambda loss: ends[loss])
    places = spread([(ends[loss] - low) / (high - low) * pixels for loss in order], _LABEL_PIXELS, pixels)
    made["margin"]["r"] = round(10 + _LETTER_PIXELS * max(map(len, ends), default=0))
    for loss, place in zip(order, places, strict=True):
        made["annotations"].append(
            {
                **_note(escaped(loss)),
                "font": {"size": 12, "color": styles[loss].colour, "weight": 600},
                "xref": "paper",
                "x": 1,
                "xanchor": "left",
                "xshift": 5,
                "yref": "paper",
                "y": place / pixels,
                "yanchor": "middle",
            }
        )


def spread(places: Sequence[float], gap: float, most: float) -> list[float]:
    """Rising places moved as little as keeps them ``gap`` apart and at most ``most``."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    limit = most
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved


def _note(text: str) -> Figure:
    return {"text": text, "showarrow": False, "font": {"size": 11, "color": MUTED}, "bgcolor": "rgba(255,255,255,0.7)"}
