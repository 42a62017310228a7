"""How much worse a smaller model may be, as people say it."""

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.confirm.margin import MARGIN, margin_of, smallest_margin


@pytest.mark.parametrize(("wish", "margin"), [("0.01", 0.01), (0.5, 0.5), ("1e-3", 0.001)])
def test_a_margin_is_a_difference_in_the_objective(wish: str | float, margin: float) -> None:
    assert margin_of(wish) == margin


@pytest.mark.parametrize("wish", ["0", "1", "-0.1", "2 %", "nan", "inf", "", (0.1,)])
def test_what_is_no_difference_is_refused(wish: str) -> None:
    message = f"--margin: found {wish}; expected a difference in the objective, above 0 and below 1, as {MARGIN}"
    with pytest.raises(UserError) as refused:
        margin_of(wish)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("smallest", "margin", "within"), [(False, None, None), (True, None, MARGIN), (True, 0.1, 0.1)]
)
def test_the_smallest_has_a_margin_and_without_it_there_is_none(
    smallest: bool, margin: float | None, within: float | None
) -> None:
    assert smallest_margin(smallest=smallest, margin=margin) == within


def test_a_margin_that_would_change_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="--margin: goes with --smallest here; a comparison takes it alone"):
        smallest_margin(smallest=False, margin=0.1)
    with pytest.raises(UserError, match="--margin: found 3"):
        smallest_margin(smallest=True, margin=3)
