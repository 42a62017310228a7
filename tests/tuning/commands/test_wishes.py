"""Times, counts and shares, as people write them."""

import numpy as np
import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands.wishes import count_of, seconds_of, share_of


@pytest.mark.parametrize(("text", "seconds"), [(0.5, 0.5), ("90", 90), ("90s", 90), ("1.5m", 90), ("2 h", 7200)])
def test_a_time_budget_is_a_number_with_a_unit(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1m", "1d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--time-budget: found .*; expected a time like 90s, 30m or 2h"):
        seconds_of(text)


@pytest.mark.parametrize(("wish", "share"), [("auto", "auto"), ("0.25", 0.25), (0, 0.0), (1, 1.0), ("2", 2.0)])
def test_a_share_is_a_part_of_a_gpu_or_whole_ones(wish: str | float, share: object) -> None:
    assert share_of(wish) == share


@pytest.mark.parametrize("wish", ["half", "-1", 1.5, "nan", "inf", {}])
def test_what_no_gpu_can_be_parted_into_is_refused(wish: str | float) -> None:
    with pytest.raises(UserError, match=rf"--gpus-per-trial: found {wish}; expected a share from 0 to 1, a whole"):
        share_of(wish)


def test_a_count_is_a_whole_number_of_whatever_type() -> None:
    assert count_of(np.int64(3), "--concurrency") == count_of(3, "--concurrency") == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("wish", [0, -1, 1.5, "2"])
def test_what_counts_nothing_is_refused(wish: int) -> None:
    with pytest.raises(UserError, match=rf"^--concurrency: found {wish!r}; expected a whole number from 1$"):
        count_of(wish, "--concurrency")
