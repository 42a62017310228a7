"""The tables that only the page has, and how cells stand there."""

from dataclasses import replace

import pytest

from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.confirm.statistics import Difference, Interval
from losstune.tuning.report.insights import Fate
from losstune.tuning.report.tables import (
    failures,
    fate_look,
    fate_names,
    fates_table,
    search_table,
    settings_table,
    stacked,
)
from losstune.tuning.show.table import Cell, Measured, Noted, Table
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import best_trial
from tests.tuning.reported import confirmed, searched
from tests.tuning.samples import CONDITIONAL, failed, new_trials, space_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return confirmed(searched(tmp_path_factory.mktemp("root"), trials=(4, 3)))


@pytest.mark.parametrize(
    ("cell", "text", "small"),
    [
        ("is untuned", "is untuned", ""),
        ("two words", "two words", ""),
        (Noted("8", "72 epochs"), "8", "72 epochs"),
        (Measured(Interval(0.331, 0.320, 0.342)), "0.331", "[0.320, 0.342]"),
        (Measured(Difference(0.07, 0.05, 0.09, 0.01, 1.0), signed=True), "+0.070", "[+0.050, +0.090]"),
    ],
)
def test_a_cell_of_the_page_has_both_limits_under_the_value(cell: Cell, text: str, small: str) -> None:
    assert stacked(cell) == (text, small)


def cells(table: Table) -> dict[str, list[Cell]]:
    return {row.name: list(row.cells) for row in table.rows}


def test_without_a_confirmation_the_best_trial_stands_for_its_loss(study: Study) -> None:
    trials = study.trials()
    best = best_trial(trials["cosine"])
    assert best is not None
    table = search_table(
        {**trials, "mse": []}, "val/mrr", {"infonce": "infonce", "cosine": "cosine", "mse": "squares (mse)"}
    )
    assert [column.heading for column in table.columns][1] == "best val/mrr, one seed"
    assert cells(table)["cosine"] == [f"{best.rank_value:.4f}", "3", "13", best.name]
    assert cells(table)["squares (mse)"] == ["–", "0", "0", "–"]


def test_settings_show_the_untuned_start_where_it_differs(study: Study) -> None:
    trials = study.trials()
    chosen = {loss: best for loss, own in trials.items() if (best := best_trial(own)) is not None}
    table = cells(settings_table(study, chosen, latest_finished(study)))
    lr = chosen["cosine"].point["lr"]
    assert table["lr"] == ["–", Noted(f"{lr:.4g}", "(0.001)")]
    assert table["temperature"][1] == "–"
    assert cells(settings_table(study, chosen, None))["lr"] == ["–", f"{lr:.4g}"]


FATES = {
    "infonce": [Fate("used its epochs", 2, 18), Fate("cut at rung 9", 1, 9), Fate("cut at rung 3", 1, 1)],
    "cosine": [Fate("cut at rung 3", 3, 9), Fate("failed", 1, 0)],
}


def test_ends_stand_in_the_order_in_which_a_trial_meets_them() -> None:
    table = fates_table(FATES, {"infonce": "infonce", "cosine": "mild (cosine)"})
    names = ["used its epochs", "cut at rung 9", "cut at rung 3", "failed"]
    assert fate_names(FATES) == names
    assert [column.heading for column in table.columns] == ["loss", *names, "trials", "epochs"]
    assert cells(table) == {
        "infonce": [Noted("2", "18 epochs"), Noted("1", "9 epochs"), Noted("1", "1 epoch"), "–", "4", "28"],
        "mild (cosine)": ["–", "–", Noted("3", "9 epochs"), Noted("1", "0 epochs"), "4", "9"],
    }


def test_a_cut_is_paler_the_earlier_it_was_and_no_paler_than_there_are_looks() -> None:
    names = ["used its epochs", *(f"cut at rung {rung}" for rung in (81, 27, 9, 3, 2, 1))]
    looks = ["used-its-epochs", "cut-0", "cut-1", "cut-2", "cut-3", "cut-4", "cut-4"]
    assert [fate_look(name, names) for name in names] == looks


def test_each_reason_of_failure_is_told_once_with_the_first_trials_it_ended() -> None:
    trials: LossTrials = new_trials(space_of(CONDITIONAL))
    endings = [replace(failed(), reason="no such file"), failed(), failed(), failed(), replace(failed(), reason="full")]
    for ending in endings:
        trials.end(trials.add({"temperature": 0.1, "schedule": "constant"}, seed=0), ending)
    told = list(failures({"infonce": list(trials)}, most=2, named=2))
    assert told == [
        "its worker died: infonce-0001, infonce-0002 and 1 more",
        "no such file: infonce-0000",
        "and 1 other reason",
    ]
    assert list(failures({"infonce": []})) == []
