"""What the terminal shows of a study: counts, the best so far, the time that is left."""

import io
import math
import re

import pytest
from rich.console import Console

from losstune.tuning.show.progress import (
    LossProgress,
    Progress,
    counted,
    progress_table,
    seconds_left,
    setting_text,
    time_text,
)
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.messages import Report
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import CONDITIONAL, cut, diverged, failed, new_trials, settings_of, space_of, used_up

WARM = {"temperature": 0.0712345, "schedule": "cosine", "warmup_epochs": 3}


def trials_with(*endings: Ending | None) -> LossTrials:
    trials = new_trials(space_of(CONDITIONAL))
    for ending in endings:
        number = trials.add(WARM, seed=0)
        if ending:
            trials.end(number, ending)
    return trials


def shown(losses: dict[str, LossProgress], settings: StudySettings, seconds: float = 0) -> list[list[str]]:
    """Header and rows of the table as text."""
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress_table(losses, settings, "study", seconds))
    lines = [line for line in capture.get().splitlines() if line.strip() and "──" not in line]
    return [re.split(r"\s{2,}", line.strip()) for line in lines[1 : 2 + len(losses)]]


class Follower:
    """A progress display in a pipe, fed as the searcher feeds it."""

    def __init__(self, trials: LossTrials) -> None:
        self.out = io.StringIO()
        self.trials = trials
        self.progress = Progress("study", settings_of(), Console(file=self.out, width=200))
        self.loss = counted(trials)
        self.progress.add_loss("infonce", self.loss, "infonce")

    def start(self) -> int:
        number = self.trials.add(WARM, seed=0)
        self.progress.started(self.trials[number], new=True)
        return number

    def train(self, number: int, epoch: int, best: float, end: str | None = None) -> None:
        report = Report("infonce", number, epoch, best, epoch, end, "", (), 0.0)  # type: ignore[arg-type]
        self.progress.trained(self.trials[number], report, epoch)

    def end(self, number: int, ending: Ending) -> None:
        self.trials.end(number, ending)
        self.progress.ended(self.trials[number], self.trials)

    @property
    def best(self) -> tuple[int, float] | None:
        return (self.loss.best.number, self.loss.best_value) if self.loss.best else None


def test_counts_what_the_truth_knows() -> None:
    trials = trials_with(used_up(0.5, 27), cut(0.6, 9), cut(0.1, 3), diverged(4, 0.9), failed(2), None, None)
    trials.report(5, 3, 0.4)
    trials.pause(6)
    loss = counted(trials)
    assert loss.states == {"running": 1, "paused": 1, "complete": 1, "pruned": 3, "failed": 1}
    assert loss.epochs == 27 + 9 + 3 + 4 + 2 + 3
    assert loss.best is not None
    assert (loss.best.number, loss.best_value) == (1, 0.6)


def test_of_equal_trials_the_first_is_shown() -> None:
    loss = counted(trials_with(cut(0.5, 3), used_up(0.5)))
    assert loss.best is not None
    assert loss.best.number == 0


def test_settings_in_one_line() -> None:
    assert setting_text(trials_with(None)[0]) == "temperature 0.0712, schedule cosine, warmup_epochs 3"


def test_a_table_of_a_study_at_rest() -> None:
    losses = {"infonce": counted(trials_with(used_up(0.51234, 27), cut(0.1, 3), None)), "mse": LossProgress()}
    assert shown(losses, settings_of(epochs_per_loss=600)) == [
        ["loss", "running", "pruned", "done", "failed", "epochs", "best val/mrr"],
        ["infonce", "1", "1", "1", "0", "30/600", "0.5123"],
        ["mse", "0", "0", "0", "0", "0/600", "-"],
    ]


def test_a_table_of_a_study_under_way_has_pace_and_time() -> None:
    loss = counted(trials_with(used_up(0.5, 27)))
    loss.epochs += 20
    loss.new_epochs = 20
    (header, row) = shown({"infonce": loss}, settings_of(epochs_per_loss=147), seconds=10)
    assert header[-2:] == ["epochs/s", "left"]
    assert row[-4:] == ["47/147", "0.5000", "2.0", "0:50"]


def test_a_budget_of_trials_shows_epochs_alone() -> None:
    loss = counted(trials_with(used_up(0.5, 27)))
    assert shown({"infonce": loss}, settings_of(trials=5))[1][5] == "27"


@pytest.mark.parametrize(
    ("epochs", "new", "settings", "seconds", "left"),
    [
        (0, 0, settings_of(epochs_per_loss=100), 10, None),
        (40, 20, settings_of(epochs_per_loss=100), 10, 30),
        (120, 20, settings_of(epochs_per_loss=100), 10, 0),
        (60, 60, settings_of(trials=6), 30, 30),
        (60, 30, settings_of(trials=3), 30, 0),
    ],
)
def test_time_left_follows_the_pace(
    epochs: int, new: int, settings: StudySettings, seconds: float, left: float | None
) -> None:
    loss = LossProgress(epochs=epochs, new_epochs=new)
    loss.states.update(complete=1, pruned=1, failed=1)
    assert seconds_left(loss, settings, seconds) == left


def test_time_left_is_known_before_the_first_trial_has_ended() -> None:
    left = seconds_left(LossProgress(epochs=5, new_epochs=5), settings_of(trials=4), 10)
    assert left is not None
    assert math.isfinite(left)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (123, "2:03"), (3599.7, "1:00:00"), (3723, "1:02:03")],
)
def test_times_in_words(seconds: float | None, text: str) -> None:
    assert time_text(seconds) == text


def test_a_launch_is_followed_trial_by_trial() -> None:
    view = Follower(trials_with(cut(0.4, 3), None))
    view.trials.pause(1)
    view = Follower(view.trials)
    assert (view.loss.states["paused"], view.loss.states["running"], view.best) == (1, 0, (0, 0.4))
    view.trials.resume(1)
    view.progress.started(view.trials[1], new=False)
    number = view.start()
    assert (view.loss.states["paused"], view.loss.states["running"]) == (0, 2)
    view.train(number, 3, 0.5)
    assert view.best == (number, 0.5)
    view.end(number, cut(0.5, 3))
    view.end(1, used_up(0.2))
    assert view.loss.states == {"running": 0, "paused": 0, "complete": 1, "pruned": 2, "failed": 0}
    assert (view.loss.epochs, view.loss.new_epochs, view.best) == (6, 3, (number, 0.5))


def test_epochs_of_a_trial_that_found_no_room_count_once() -> None:
    view = Follower(trials_with())
    number = view.start()
    view.trials.report(number, 3, 0.5)
    view.train(number, 8, 0.5)
    view.progress.waits(view.trials[number], "no room", again=5)
    assert (view.loss.states["running"], view.loss.states["paused"], view.loss.epochs) == (0, 1, 3)
    assert view.out.getvalue() == "infonce-0000: no room\n"


@pytest.mark.parametrize("ending", [diverged(4, 0.9), failed(4)], ids=["diverged", "failed"])
def test_a_best_that_no_longer_counts_gives_way_to_the_next(ending: Ending) -> None:
    view = Follower(trials_with(cut(0.4, 3), used_up(0.3)))
    number = view.start()
    view.train(number, 3, 0.9)
    assert view.best == (number, 0.9)
    view.end(number, ending)
    assert view.best == (0, 0.4)


def test_a_diverged_value_is_never_shown_as_best() -> None:
    view = Follower(trials_with())
    number = view.start()
    view.train(number, 4, 0.9, "diverged")
    assert view.best is None
    view.end(number, diverged(4, 0.9))
    assert view.best is None


def test_a_pipe_gets_one_plain_line_per_loss_at_the_end() -> None:
    view = Follower(trials_with(used_up(0.5, 27), cut(0.25, 3), failed(0)))
    view.progress.add_loss("mse", LossProgress(), "mse")
    with view.progress:
        assert view.out.getvalue() == ""
    first, second = view.out.getvalue().splitlines()
    assert first.endswith(
        "infonce: 0 running, 1 pruned, 1 done, 1 failed, 30/810 epochs, best val/mrr 0.5000 (infonce-0000), - left"
    )
    assert second.endswith("mse: 0 running, 0 pruned, 0 done, 0 failed, 0/810 epochs, no value yet, - left")
    assert "\x1b" not in view.out.getvalue()


def test_a_terminal_keeps_the_table() -> None:
    out = io.StringIO()
    progress = Progress("study", settings_of(), Console(file=out, width=120, force_terminal=True))
    progress.add_loss("infonce", counted(trials_with(used_up(0.51234, 27))), "infonce")
    with progress:
        pass
    assert "0.5123" in out.getvalue()
    assert "infonce-0000: temperature 0.0712" in out.getvalue()


def test_the_table_of_all_losses_fits_80_columns() -> None:
    losses = {name: counted(trials_with(used_up(0.5))) for name in ("mse", "cosine", "cosine_mse", "infonce")}
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress_table(losses, settings_of(epochs_per_loss=810), "study", 60))
    assert "…" not in capture.get()
    assert "cosine_mse" in capture.get()


@pytest.mark.parametrize(
    ("width", "seconds", "left_out"),
    [
        (60, 0, "pruned"),
        (50, 0, "running, pruned"),
        (60, 60, "pruned, epochs/s"),
        (40, 0, "running, pruned, epochs"),
    ],
)
def test_a_narrow_table_keeps_what_is_done_and_what_is_best(width: int, seconds: float, left_out: str) -> None:
    losses = {name: counted(trials_with(used_up(0.5))) for name in ("cosine", "infonce")}
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(progress_table(losses, settings_of(epochs_per_loss=810), "study", seconds))
    header = capture.get().splitlines()[1]
    assert "done" in header
    assert "best val/mrr" in header
    assert f"No room for: {left_out}" in capture.get().replace("\n", " ")
