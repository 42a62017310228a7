"""The figures of one loss's parameters, from trials by hand."""

import math

import pytest

from losstune.tuning.report.figure_parts import INK, Style, mixed
from losstune.tuning.report.insights import Importance
from losstune.tuning.report.parameter_figures import importance_figure, log_ticks, slice_figure
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import CONDITIONAL, cut, failed, new_trials, space_of, used_up

STYLE = Style("#0067a5", "circle")


def test_importance_is_pale_where_it_may_be_chance() -> None:
    found = Importance({"lr": 0.6, "b<r>": 0.3, "depth": 0.1}, {"lr": 0.2, "b<r>": 0.4, "depth": 0.4}, 40, 10)
    (bars,) = importance_figure(found, STYLE, most=2)["data"]
    assert bars["y"] == ["b&lt;r&gt;", "lr"]  # Plotly draws the first at the foot
    assert bars["text"] == ["30 %", "60 %"]
    assert bars["marker"]["color"] == [mixed(STYLE.colour, 0.3), STYLE.colour]
    assert bars["hovertext"][1] == "lr: chance reaches 20 %"


def trials_with(*endings: Ending | None) -> LossTrials:
    trials = new_trials(space_of(CONDITIONAL))
    for number, ending in enumerate(endings):
        schedule = {"schedule": "cosine", "warmup_epochs": number} if number % 2 else {"schedule": "constant"}
        trials.add({"temperature": 0.1, **schedule}, seed=0)
        if ending:
            trials.end(number, ending)
    return trials


def parameter(name: str):
    return next(one for one in space_of(CONDITIONAL).parameters if one.name == name)


def test_trials_are_marked_by_how_they_ended() -> None:
    trials = list(trials_with(used_up(0.5), cut(0.3, 3), failed(1), None, used_up(0.4)))
    made = slice_figure(parameter("temperature"), trials, STYLE, "val/mrr")
    cuts, whole, best, without = made["data"]
    assert (cuts["marker"]["symbol"], cuts["y"]) == ("circle-open", [0.3])
    assert (whole["marker"]["symbol"], whole["y"]) == ("circle", [0.5, 0.4])
    assert (best["marker"]["color"], best["y"]) == (INK, [0.5])
    assert (without["marker"]["symbol"], without["y"]) == ("x-thin-open", [made["layout"]["yaxis"]["range"][0]])
    assert without["hovertext"] == ["infonce-0002: no value<br>temperature 0.1, its worker died"]


def test_a_conditional_parameter_has_the_trials_that_have_it() -> None:
    trials = list(trials_with(used_up(0.5), used_up(0.4), used_up(0.3), used_up(0.2)))
    marks, _ = slice_figure(parameter("warmup_epochs"), trials, STYLE, "val/mrr")["data"]
    assert marks["x"] == [1.0, 3.0]


def test_a_choice_stands_at_its_place_a_little_to_the_side() -> None:
    trials = list(trials_with(*[used_up(0.1 * number) for number in range(1, 7)]))
    made = slice_figure(parameter("schedule"), trials, STYLE, "val/mrr")
    places = made["data"][0]["x"]
    assert [round(place) for place in places] == [0, 1] * 3
    assert len(set(places)) == 6
    assert (made["layout"]["xaxis"]["ticktext"], made["layout"]["xaxis"]["tickvals"]) == (
        ["constant", "cosine"],
        [0, 1],
    )


def test_a_logarithmic_range_has_a_logarithmic_axis() -> None:
    axis = slice_figure(parameter("temperature"), [], STYLE, "val/mrr")["layout"]["xaxis"]
    assert (axis["type"], axis["ticktext"]) == ("log", ["0.01", "0.1", "1"])
    assert axis["range"] == pytest.approx([math.log10(0.01) - 0.1, 0.1])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1e-4, 1e-2, [1e-4, 1e-3, 1e-2]),
        (0.02, 0.5, [0.02, 0.05, 0.1, 0.2, 0.5]),
        (1, 10_000, [1, 10, 100, 1000, 10_000]),
    ],
)
def test_log_axes_have_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks
