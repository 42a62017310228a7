"""What the terminal shows of a confirmation: counts, means over the seeds that are done, the time that is left."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult, runs_of
from losstune.tuning.confirm.looks import Stop
from losstune.tuning.confirm.plan import Plan, make_plan
from losstune.tuning.show import live
from losstune.tuning.show.confirm_progress import ConfirmProgress
from tests.tuning.reported import searched
from tests.tuning.show.test_live import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live, "time", made)
    return made


@pytest.fixture
def runs(tmp_path: Path) -> list[ConfirmRun]:
    """Two settings, cosine-0000 and cosine-start, with two seeds."""
    study = searched(tmp_path, trials=(1, 1))
    plan: Plan = make_plan(study, 1, 1, 2, 1, split_given=False)
    return [run for run in runs_of(study, plan) if run.arm.loss == "cosine"]


def ended(best: float | None) -> RunResult:
    return RunResult(
        end="epochs" if best else "failed",
        reason="",
        epochs=9,
        best=best,
        best_epoch=9,
        seconds=1.0,
        started=0.0,
        finished=1.0,
    )


def followed(runs: list[ConfirmRun], out: io.StringIO) -> ConfirmProgress:
    return ConfirmProgress("study", "val/mrr", 9, runs, Console(file=out, width=120))


def rows(progress: ConfirmProgress) -> list[list[str]]:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress._table())
    return [line.split("  ") for line in capture.get().splitlines()]


def cells(progress: ConfirmProgress) -> dict[str, list[str]]:
    split = ([cell.strip() for cell in row if cell.strip()] for row in rows(progress))
    return {row[0]: row[1:] for row in split if row}


def test_runs_are_counted_by_setting_and_averaged_over_the_seeds_that_are_done(runs: list[ConfirmRun]) -> None:
    runs[0].finish(ended(0.3))  # before this launch
    progress = followed(runs, io.StringIO())
    progress.started(runs[1])
    assert cells(progress)["cosine-0000"] == ["0", "1/2", "0.3000"]
    assert cells(progress)["cosine-start"] == ["1", "0/2", "-"]
    progress.ended(runs[1], ended(None))
    progress.started(runs[2])
    progress.ended(runs[2], ended(0.5))
    assert cells(progress)["cosine-0000"] == ["0", "2/2", "0.4000 ± 0.1414"]
    assert cells(progress)["cosine-start"] == ["0", "1/2", "-"]  # a run that failed is done, and has no value


def test_a_run_that_failed_before_this_launch_is_to_be_done(runs: list[ConfirmRun]) -> None:
    runs[0].finish(ended(None))
    progress = followed(runs, io.StringIO())
    assert cells(progress)["cosine-0000"] == ["0", "0/2", "-"]


def test_time_left_is_at_the_pace_so_far_with_running_ones_half_done(runs: list[ConfirmRun], clock: Clock) -> None:
    out = io.StringIO()
    with followed(runs, out) as progress:
        progress.started(runs[0])
        progress.started(runs[1])
        clock.now += 5
        progress.trained(runs[0], 5)
        # 4 runs, two of them half done: 3 × 9 epochs at one a second
        title = " ".join(cell.strip() for row in rows(progress)[:2] for cell in row if cell.strip())
        assert title == "study study, confirmation 0:05, 0 of 4 runs, 0:27 left"
        assert out.getvalue() == ""


def test_a_pipe_gets_a_line_every_ten_seconds_and_at_the_end(runs: list[ConfirmRun], clock: Clock) -> None:
    out = io.StringIO()
    with followed(runs, out) as progress:
        progress.started(runs[0])
        clock.now += 11
        progress.trained(runs[0], 11)
        progress.ended(runs[0], ended(0.3))
    assert out.getvalue().splitlines() == [
        "[0:11] confirmation: 0 of 4 runs, no value yet, 0:32 left",
        "[0:11] confirmation: 1 of 4 runs, highest mean so far cosine-0000 val/mrr 0.3000, 0:27 left",
    ]


def test_a_terminal_keeps_the_table(runs: list[ConfirmRun]) -> None:
    out = io.StringIO()
    with ConfirmProgress("study", "val/mrr", 9, runs, Console(file=out, width=120, force_terminal=True)):
        pass
    assert "study study, confirmation  0:00" in out.getvalue()
    assert "val/mrr ± sd" in out.getvalue()


def test_a_setting_that_stops_is_said_and_its_other_seeds_are_not_waited_for(runs: list[ConfirmRun]) -> None:
    out = io.StringIO()
    progress = followed(runs, out)
    assert cells(progress)["cosine-start"][1] == "0/2"
    progress.stopped(Stop("cosine-start", 1, "cosine-0000"))
    assert cells(progress)["cosine-start"][1] == "0/1"
    assert "cosine-start gets no more than 1 seeds: it has clearly lost to cosine-0000 in validation" in out.getvalue()
