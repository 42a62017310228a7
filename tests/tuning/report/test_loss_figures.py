"""The figures that compare losses, from numbers by hand."""

from losstune.tuning.confirm.statistics import Interval
from losstune.tuning.report.figure_parts import INK, MUTED, Figure, loss_styles
from losstune.tuning.report.insights import LearningCurve, SearchPoint
from losstune.tuning.report.loss_figures import (
    agreement_figure,
    difference_figure,
    interval_figure,
    learning_figure,
    level_rows,
    search_figure,
)
from losstune.tuning.report.rung_agreement import Agreement
from tests.tuning.confirm.test_sentences import NEAR, comparison, pair, row

STYLES = loss_styles(["infonce", "mse"])
ROWS = [
    row("infonce-0007"),
    row("mse-0002", validation=0.2),
    row("infonce-start", "start"),
    row("chance", "baseline", test={"mrr": Interval(0.02, 0.01, 0.03)}),
    row("ridge", "baseline", test={"mrr": Interval(0.2, 0.1, 0.3)}),
]
FOUND = comparison(rows=ROWS, ridge=ROWS[-1])


def lines(figure: Figure) -> list[str]:
    return [note["text"] for note in figure["layout"]["annotations"]]


def test_scores_stand_with_their_intervals_and_lines_at_chance_and_ridge() -> None:
    made = interval_figure(FOUND, "mrr", STYLES)
    names = [mark["y"][0] for mark in reversed(made["data"])]
    assert names == ["infonce", "mse", "infonce untuned", "chance", "ridge"]
    marks = {mark["y"][0]: mark["marker"] for mark in made["data"]}
    assert marks["infonce"]["color"] == marks["infonce untuned"]["color"] == STYLES["infonce"].colour
    assert (marks["infonce"]["symbol"], marks["infonce untuned"]["symbol"]) == ("circle", "circle-open")
    assert marks["ridge"]["color"] == MUTED
    assert lines(made)[-2:] == ["chance", "ridge"]
    separators = [shape for shape in made["layout"]["shapes"] if shape.get("xref") == "paper"]
    assert len(separators) == 2  # between picks, starts and baselines
    assert made["data"][-1]["hovertext"] == ["infonce: 0.331 [0.320, 0.342]<br>infonce-0007"]


def test_levels_are_those_that_are_there() -> None:
    assert list(level_rows(FOUND)) == ["chance", "ridge"]
    assert list(level_rows(comparison(rows=ROWS[:2]))) == []


def test_only_a_claim_is_filled_in_the_better_losss_colour() -> None:
    made = difference_figure([pair("undecided", NEAR, second="cosine"), pair("first")], STYLES)
    claim, other = reversed(made["data"])
    assert (claim["y"], claim["marker"]["symbol"], claim["marker"]["color"]) == (
        ["infonce − mse"],
        "circle",
        STYLES["infonce"].colour,
    )
    assert (other["y"], other["marker"]["symbol"]) == (["infonce − cosine"], "circle-open")
    assert claim["hovertext"] == ["infonce − mse: +0.070 [+0.050, +0.090]<br>p 0.0004 after Holm"]
    assert lines(made)[-1] == "equal"


def test_best_so_far_has_a_mark_for_each_new_best() -> None:
    steps = [SearchPoint(9, 0.2, "mse-0000"), SearchPoint(12, 0.2, "mse-0000"), SearchPoint(21, 0.3, "mse-0002")]
    made = search_figure({"mse": steps}, {"ridge": 0.25, "chance": 0.02}, "val/mrr", STYLES)
    (curve,) = made["data"]
    assert (curve["x"], curve["y"], curve["line"]["shape"]) == ([9, 12, 21], [0.2, 0.2, 0.3], "hv")
    assert curve["marker"]["size"] == [9, 0, 9]
    low, high = made["layout"]["yaxis"]["range"]
    assert low < 0.2 < 0.3 < high
    assert low > 0.02  # chance is far below, and would press the curves together
    assert lines(made) == ["ridge 0.250", "↓ below: chance 0.020", "mse"]


def test_a_band_needs_more_than_one_run() -> None:
    alone = LearningCurve([1, 2], [0.1, 0.2], [0.1, 0.2], [0.1, 0.2], [1, 1])
    several = LearningCurve([1, 2], [0.2, 0.4], [0.1, 0.3], [0.3, 0.5], [10, 8])
    made = learning_figure({"mse": alone, "infonce": several}, {}, "val/mrr", STYLES)
    low, high, *means = made["data"]
    assert (low["y"], high["y"], high["fill"]) == ([0.1, 0.3], [0.3, 0.5], "tonexty")
    assert [mean["y"] for mean in means] == [[0.1, 0.2], [0.2, 0.4]]
    assert means[0]["hovertext"][0] == "mse, epoch 1, 1 run<br>0.1000 [0.1000, 0.1000]"
    assert means[1]["hovertext"][1] == "infonce, epoch 2, 8 runs<br>0.4000 [0.3000, 0.5000]"


def test_agreements_of_the_confirmation_are_filled() -> None:
    search = Agreement(3, 9, 20, 40, 0.8, 0.7, 0.9)
    confirm = Agreement(3, None, 10, 20, 0.65, 0.5, 0.8)
    made = agreement_figure([search], [confirm])
    last, first = made["data"]
    assert (first["y"], first["marker"]["symbol"]) == (["search, 3 → 9"], "circle-open")
    assert (last["y"], last["marker"]["color"], last["marker"]["symbol"]) == (["confirmation, 3 → end"], INK, "circle")
    assert last["hovertext"] == ["confirmation, 3 → end: 20 pairs, 10 runs, Kendall’s τ 0.30"]
    assert lines(made) == ["80 %", "65 %", "chance"]
    low, high = made["layout"]["xaxis"]["range"]
    assert low < 0.45 < 1.0 < high
