"""What models cost, beside their scores, in a table."""

import pytest

from losstune.tuning.confirm.statistics import Interval
from losstune.tuning.show.cost_table import cost_table, size_text, speed_text
from losstune.tuning.show.table import Measured
from tests.tuning.confirm.test_cost import COST
from tests.tuning.confirm.test_sentences import comparison, row
from tests.tuning.confirm.test_smallest_words import LARGE, small, told_of


def test_the_picks_and_the_smallest_stand_by_their_parameters() -> None:
    other = small(name="mse-0009", cost=COST.model_copy(update={"parameters": 12}))
    table = cost_table(told_of(other))
    assert table is not None
    assert [(own.name, own.loss, own.cells[1]) for own in table.rows] == [
        ("mse-0009", "mse", "12"),
        ("mse-0002", "mse", "1,000"),
        ("infonce-0007", "infonce", "4,000"),
    ]
    assert table.rows[0].cells == [Measured(Interval(0.327, 0.31, 0.34)), "12", "12 kB", "32", "20,000", "900,000"]


def test_a_pick_that_is_the_smallest_stands_once() -> None:
    table = cost_table(told_of(small()))
    assert table is not None
    assert [own.name for own in table.rows] == ["mse-0002", "infonce-0007"]


def test_prefixes_have_rows_of_their_own_the_shortest_first() -> None:
    cut = {"mrr": Interval(0.3, 0.29, 0.31), "cosine_sim": Interval(0.9, 0.8, 1.0)}
    rows = [row("infonce-0007", cost=LARGE, prefixes={16: cut, 8: cut}), row("mse-0002", cost=COST)]
    found = small(name="infonce-0007", cost=LARGE.model_copy(update={"dims": 8}), test=cut["mrr"])
    table = cost_table(comparison(rows=rows, smallest=found))
    assert table is not None
    assert [(own.name, own.cells[3]) for own in table.rows] == [
        ("infonce-0007", "8"),
        ("infonce-0007", "16"),
        ("mse-0002", "32"),
        ("infonce-0007", "32"),
    ]
    assert table.rows[0].cells[0] == Measured(cut["mrr"])


def test_there_is_none_of_a_confirmation_of_before_and_starts_and_baselines_are_not_in_it() -> None:
    assert cost_table(comparison()) is None
    rows = [row("infonce-0007", cost=LARGE), row("mse-start", "start", cost=COST), row("ridge", "baseline")]
    table = cost_table(comparison(rows=rows))
    assert table is not None
    assert [own.name for own in table.rows] == ["infonce-0007"]


@pytest.mark.parametrize(("count", "text"), [(512, "1 kB"), (98_765, "99 kB"), (1_234_567, "1.2 MB")])
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("speed", "text"), [(13_571.0, "14,000"), (1_234_567.0, "1,200,000"), (0.517, "0.52"), (99.6, "100")]
)
def test_a_speed_has_the_digits_that_it_can_be_measured_to(speed: float, text: str) -> None:
    assert speed_text(speed) == text
