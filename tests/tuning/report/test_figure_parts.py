"""What all figures of a report share: looks, ranges, named lines, labels that keep apart."""

import pytest

from losstune.tuning.report.figure_parts import (
    NamedInterval,
    Style,
    add_end_labels,
    add_levels,
    add_verticals,
    escaped,
    layout,
    loss_styles,
    mixed,
    padded,
    rows_figure,
    spread,
)

STYLE = Style("#0067a5", "circle")


def test_losses_look_different_also_when_there_are_more_than_colours() -> None:
    styles = loss_styles(f"loss{i}" for i in range(20))
    assert len(set(styles.values())) == 20
    assert len({style.colour for style in styles.values()}) == 6


def test_text_is_shown_as_it_is() -> None:
    assert escaped('a<b>&"c') == "a&lt;b&gt;&amp;&quot;c"


def test_a_share_of_a_colour_on_white() -> None:
    assert (mixed("#000000", 1.0), mixed("#000000", 0.0), mixed("#ff0080", 0.5)) == ("#000000", "#ffffff", "#ff80c0")


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([], []),
        ([10, 50], [10, 50]),
        ([10, 11, 12], [10, 25, 40]),
        ([90, 95], [85, 100]),
        ([0, 95, 96, 200], [0, 70, 85, 100]),
    ],
)
def test_labels_are_kept_apart(places: list[float], moved: list[float]) -> None:
    assert spread(places, gap=15, most=100) == moved


def test_an_axis_of_one_value_has_room() -> None:
    assert padded([0.0], 0.1) == [-0.5, 0.5]
    assert padded([2.0, 2.0], 0.1) == [1.9, 2.1]
    assert padded([1.0, 3.0], 0.1) == pytest.approx([0.8, 3.2])


def test_named_values_stand_from_the_top_with_their_intervals() -> None:
    rows = [
        NamedInterval(name, value, value - 0.1, value + 0.2, f"{value}", "h", STYLE)
        for name, value in (("first", 0.5), ("second", 0.3))
    ]
    made = rows_figure(rows, "score")
    assert [(mark["y"], mark["x"]) for mark in made["data"]] == [(["second"], [0.3]), (["first"], [0.5])]
    error = made["data"][1]["error_x"]
    assert (error["array"], error["arrayminus"]) == ([pytest.approx(0.2)], [pytest.approx(0.1)])
    low, high = made["layout"]["xaxis"]["range"]
    assert low < 0.2 < 0.7 < high
    assert [note["text"] for note in made["layout"]["annotations"]] == ["0.5", "0.3"]


def test_a_value_that_must_be_in_sight_widens_the_axis() -> None:
    rows = [NamedInterval("only", 0.5, 0.4, 0.6, "", "", STYLE)]
    low, high = rows_figure(rows, "difference", 0.0)["layout"]["xaxis"]["range"]
    assert low < 0.0 < 0.6 < high


def test_a_name_too_near_the_one_before_it_goes_a_line_higher() -> None:
    made = layout(200, "", "")
    made["xaxis"]["range"] = [0.0, 1.0]
    add_verticals(made, {"ridge": 0.2, "chance": 0.1, "far": 0.9})
    assert [(note["text"], note["yshift"]) for note in made["annotations"]] == [
        ("chance", 0),
        ("ridge", 12),
        ("far", 0),
    ]
    assert [line["x0"] for line in made["shapes"]] == [0.1, 0.2, 0.9]


def test_a_level_below_the_axis_is_named_at_its_foot_and_has_no_line() -> None:
    made = layout(200, "", "")
    made["yaxis"]["range"] = [0.2, 0.5]
    add_levels(made, {"chance": 0.02, "ridge": 0.3, "above": 0.9})
    assert [line["y0"] for line in made["shapes"]] == [0.3]
    assert [note["text"] for note in made["annotations"]] == ["ridge 0.300", "↓ below: chance 0.020"]


def test_names_at_the_ends_of_curves_keep_apart_and_have_room() -> None:
    made = layout(100 + 26 + 46, "", "")
    made["yaxis"]["range"] = [0.0, 1.0]
    ends = {"cosine_mse": 0.5, "mse": 0.51}
    add_end_labels(made, ends, dict.fromkeys(ends, STYLE))
    places = {note["text"]: note["y"] for note in made["annotations"]}
    assert places == {"cosine_mse": pytest.approx(0.5), "mse": pytest.approx(0.65)}
    assert made["margin"]["r"] == 94  # ten letters
