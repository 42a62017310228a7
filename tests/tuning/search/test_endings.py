"""The words of a trial's end, from a report or from its history."""

from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.search.endings import ending_from_history, ending_from_report
from losstune.tuning.study.messages import Report
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import settings_of
from tests.tuning.simulation import write_history


@pytest.mark.parametrize(
    ("end", "error", "ending"),
    [
        ("epochs", "", Ending("complete", "used its epochs", 9, 0.5, 4)),
        ("patience", "", Ending("complete", "no new best since epoch 4", 9, 0.5, 4)),
        ("diverged", "", Ending("pruned", "diverged", 9, 0.5, 4)),
        ("diverged", "first NaN in `log`", Ending("pruned", "diverged: first NaN in `log`", 9, 0.5, 4)),
        (None, "", Ending("pruned", "cut at rung 9", 9, 0.5, 4)),
        ("error", "ValueError: x", Ending("failed", "ValueError: x", 9, 0.5, 4)),
        (
            "memory",
            "CUDA out of memory",
            Ending("failed", "no room on its GPU, with nothing of this study beside it: CUDA out of memory", 9, 0.5, 4),
        ),
    ],
)
def test_the_end_that_a_report_tells(end: Any, error: str, ending: Ending) -> None:
    assert ending_from_report(Report("mse", 0, 9, 0.5, 4, end, error, (), 0.0)) == ending


def test_a_report_before_any_value_has_no_best() -> None:
    ending = ending_from_report(Report("mse", 0, 1, float("-inf"), 0, "diverged", "", (), 0.0))
    assert (ending.best, ending.best_epoch) == (None, 0)


@pytest.mark.parametrize(
    ("values", "epochs", "best", "best_epoch"),
    [
        ([0.1, 0.4, 0.4, 0.3], 4, 0.4, 2),  # of equal values the first
        ([0.1, None], 2, 0.1, 1),
        ([None], 1, None, 0),
        ([], 0, None, 0),
    ],
)
def test_the_end_that_a_history_tells(
    values: list[float | None], epochs: int, best: float | None, best_epoch: int, tmp_path: Path
) -> None:
    write_history(tmp_path, *values)
    ending = ending_from_history(tmp_path, settings_of(), "failed", "its worker died")
    assert ending == Ending("failed", "its worker died", epochs, best, best_epoch)


def test_a_damaged_history_is_part_of_the_reason(tmp_path: Path) -> None:
    write_history(tmp_path, 0.1)
    with (tmp_path / HISTORY_FILE).open("a") as history:
        history.write("nonsense\n")
    ending = ending_from_history(tmp_path, settings_of(), "pruned", "time budget")
    assert ending.reason.startswith(f"time budget; {tmp_path / HISTORY_FILE}:2: damaged")
    assert (ending.epochs, ending.best) == (0, None)


def test_a_trial_that_never_began_has_no_history(tmp_path: Path) -> None:
    assert ending_from_history(tmp_path / "none", settings_of(), "pruned", "time budget").epochs == 0
