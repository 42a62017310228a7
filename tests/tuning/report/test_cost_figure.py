"""The figure of quality against cost, and its line."""

import itertools
import math

import plotly.graph_objects as go
import pytest

from losstune.tuning.report.cost_figure import cost_figure, pareto_front
from losstune.tuning.report.figure_parts import loss_styles
from losstune.tuning.study.trial import TrialView, ranked
from tests.tuning.samples import used_up


def trial(loss: str, number: int, value: float) -> TrialView:
    return TrialView(loss, number, {}, "complete", {}, used_up(value), 0.0, 1.0)


TRIALS = ranked([trial("mse", 0, 0.3), trial("mse", 1, 0.5), trial("cosine", 2, 0.4), trial("cosine", 3, 0.45)])
SIZES = {"mse-0000": 100, "mse-0001": 10_000, "cosine-0002": 100, "cosine-0003": 20_000}


@pytest.mark.parametrize("order", list(itertools.permutations(TRIALS)))
def test_the_front_is_what_nothing_as_cheap_beats(order: tuple[TrialView, ...]) -> None:
    assert [own.name for own in pareto_front(order, SIZES)] == ["cosine-0002", "mse-0001"]


def test_the_front_by_its_definition() -> None:
    trials = [trial("mse", n, (n * 7 % 11) / 11) for n in range(11)]
    sizes = {own.name: (own.number * 5 % 7) + 1 for own in trials}
    front = pareto_front(trials, sizes)
    for own in trials:
        beaten = any(
            (sizes[b.name] <= sizes[own.name] and b.rank_value > own.rank_value)
            or (sizes[b.name] < sizes[own.name] and b.rank_value >= own.rank_value)
            for b in trials
        )
        assert (own in front) is not beaten


def test_every_trial_is_a_mark_of_its_loss_and_the_chosen_have_a_ring() -> None:
    made = cost_figure(TRIALS, SIZES, {"mse-0001", "cosine-0003"}, loss_styles(["mse", "cosine"]), "val/mrr")
    go.Figure(made)  # Plotly's own validation
    line, mse, cosine = made["data"]
    assert (line["x"], line["y"]) == ([100, 10_000], [0.4, 0.5])
    assert (mse["x"], mse["y"]) == ([10_000, 100], [0.5, 0.3])
    assert mse["marker"]["line"]["width"] == [2, 0]
    assert cosine["hovertext"][0] == "cosine-0003: 0.4500<br>20,000 parameters"
    low, high = made["layout"]["xaxis"]["range"]
    assert low < math.log10(100) < math.log10(20_000) < high
    assert made["layout"]["xaxis"]["type"] == "log"


def test_models_of_one_size_have_an_axis_too() -> None:
    made = cost_figure(TRIALS, dict.fromkeys(SIZES, 50), set(), loss_styles(["mse", "cosine"]), "val/mrr")
    low, high = made["layout"]["xaxis"]["range"]
    assert low < math.log10(50) < high
