"""The trials of a loss: Optuna's file and the copy in memory tell the same, after every step."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from losstune.tuning.study.loss_trials import LossTrials, read_trials
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import (
    CONDITIONAL,
    PowerCutError,
    cut,
    cut_power_at,
    diverged,
    facts,
    failed,
    new_trials,
    space_of,
    sqlite,
    stored,
    used_up,
)

COLD: dict[str, Any] = {"temperature": 0.07, "schedule": "constant"}
WARM: dict[str, Any] = {"temperature": 0.5, "schedule": "cosine", "warmup_epochs": 3}


def check_agreement(trials: LossTrials, storage: BaseStorage) -> None:
    in_memory = [facts(trial) for trial in trials]
    assert in_memory == [facts(trial) for trial in read_trials(storage, trials.loss)]
    assert in_memory == [facts(trials[number]) for number in range(len(trials))]


def reopened(folder: Path) -> LossTrials:
    """The same file, as the next process finds it."""
    return new_trials(space_of(CONDITIONAL), sqlite(folder))


def one_trial(folder: Path, *steps: Callable[[LossTrials], None]) -> FrozenTrial:
    """Take the only trial through some steps; what Optuna finds in the file after them."""
    storage = sqlite(folder)
    trials = new_trials(space_of(CONDITIONAL), storage)
    trials.add(WARM, seed=7)
    for step in steps:
        step(trials)
        check_agreement(trials, storage)
    (trial,) = stored(folder, "infonce")
    assert facts(reopened(folder)[0]) == facts(trials[0])
    return trial


def test_a_proposal_is_recorded_as_running(tmp_path: Path) -> None:
    trial = one_trial(tmp_path)
    assert trial.state == TrialState.RUNNING
    assert trial.params == WARM
    assert set(trial.distributions) == set(WARM)
    assert trial.user_attrs["seed"] == 7


def test_rungs_are_intermediate_values(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, lambda own: own.report(0, 3, 0.25), lambda own: own.report(0, 9, 0.5))
    assert trial.state == TrialState.RUNNING
    assert trial.intermediate_values == {3: 0.25, 9: 0.5}


def test_used_epochs_are_complete_with_the_best_value(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, lambda own: own.report(0, 3, 0.25), lambda own: own.end(0, used_up(0.5, 27)))
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert trial.intermediate_values == {3: 0.25, 27: 0.5}


def test_a_cut_is_pruned_with_the_best_value_and_its_last_one_reported(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, lambda own: own.report(0, 3, 0.25), lambda own: own.end(0, cut(0.5, 9)))
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.5)
    assert trial.intermediate_values == {3: 0.25, 9: 0.5}


def test_divergence_is_pruned_with_nan_reported(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, lambda own: own.report(0, 3, 0.9), lambda own: own.end(0, diverged(5, 0.9)))
    assert (trial.state, trial.value) == (TrialState.PRUNED, None)
    assert trial.intermediate_values[3] == 0.9
    assert trial.last_step == 5
    assert math.isnan(trial.intermediate_values[5])


def test_divergence_before_any_epoch_was_good(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, lambda own: own.end(0, diverged(1)))
    assert (trial.state, trial.value) == (TrialState.PRUNED, None)
    assert math.isnan(trial.intermediate_values[1])


def test_a_failure_reports_nothing_more(tmp_path: Path) -> None:
    trial = one_trial(tmp_path, lambda own: own.report(0, 3, 0.25), lambda own: own.end(0, failed(5)))
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.intermediate_values == {3: 0.25}


def test_a_paused_trial_waits_and_runs_again(tmp_path: Path) -> None:
    steps: list[Callable[[LossTrials], None]] = [lambda own: own.report(0, 3, 0.25), lambda own: own.pause(0)]
    assert one_trial(tmp_path, *steps).state == TrialState.WAITING
    trials = reopened(tmp_path)
    assert trials[0].state == "paused"
    trials.resume(0)
    assert stored(tmp_path, "infonce")[0].state == TrialState.RUNNING
    assert trials[0].state == "running"
    trials.report(0, 9, 0.5)
    trials.end(0, used_up(0.6))
    (trial,) = stored(tmp_path, "infonce")
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.6)
    assert trial.intermediate_values == {3: 0.25, 9: 0.5, 27: 0.6}


def test_the_whole_ending_reads_back_from_the_file(tmp_path: Path) -> None:
    ending = Ending("complete", "no new best since epoch 12", 17, 0.625, 12)
    one_trial(tmp_path, lambda own: own.end(0, ending))
    (trial,) = reopened(tmp_path)
    assert trial.ending == ending
    assert (trial.name, trial.state, trial.epochs, trial.rank_value) == ("infonce-0000", "complete", 17, 0.625)
    assert trial.finished is not None
    assert trial.finished >= trial.started > 0


def test_points_read_back_with_their_types(tmp_path: Path) -> None:
    trials = reopened(tmp_path)
    trials.add(COLD, seed=0)
    trials.add(WARM, seed=1)
    points = [trial.point for trial in reopened(tmp_path)]
    assert points == [COLD, WARM]
    assert type(points[1]["warmup_epochs"]) is int


def test_losses_in_one_file_do_not_mix(tmp_path: Path) -> None:
    storage = sqlite(tmp_path)
    contrast, plain = new_trials(space_of(CONDITIONAL), storage), new_trials(space_of("loss_fn: mse"), storage)
    contrast.add(COLD, seed=0)
    plain.add({}, seed=0)
    contrast.add(WARM, seed=0)
    plain.end(0, used_up(0.5))
    contrast.end(1, used_up(0.75))
    assert [trial.state for trial in read_trials(storage, "infonce")] == ["running", "complete"]
    assert [trial.rank_value for trial in read_trials(storage, "mse")] == [0.5]
    assert read_trials(storage, "cosine") == []


def test_optunas_own_tools_see_all_that_have_a_value_under_the_objectives_name(tmp_path: Path) -> None:
    trials = LossTrials(sqlite(tmp_path), "infonce", space_of(CONDITIONAL), objective="val/mrr")
    for ending in (used_up(0.5), cut(0.25, 3), diverged(4, 0.9), failed(2), cut(0.75, 9)):
        trials.end(trials.add(COLD, seed=0), ending)
    study = optuna.load_study(study_name="infonce", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.metric_names == ["val/mrr"]
    assert study.trials_dataframe()["value_val/mrr"].fillna(-1).tolist() == [0.5, 0.25, -1, -1, 0.75]
    assert study.best_trial.number == 0  # Optuna's own best is of COMPLETE trials


Action = tuple[str, int, float]
actions = st.tuples(
    st.sampled_from(["add", "report", "complete", "cut", "diverge", "fail", "pause", "resume"]),
    st.integers(0, 5),
    st.floats(-1, 1),
)


def act(trials: LossTrials, action: Action) -> None:
    """Do what Optuna allows in the trial's state, and nothing otherwise."""
    kind, number, value = action
    if kind == "add":
        trials.add(COLD, seed=0)
    elif number < len(trials) and trials[number].state in ("running", "paused"):
        epoch = trials[number].epochs + 1
        {
            "report": lambda: trials.report(number, epoch, value),
            "complete": lambda: trials.end(number, used_up(value, epoch)),
            "cut": lambda: trials.end(number, cut(value, epoch)),
            "diverge": lambda: trials.end(number, diverged(epoch, value)),
            "fail": lambda: trials.end(number, failed(epoch)),
            "pause": lambda: trials.pause(number),
            "resume": lambda: trials.resume(number),
        }[kind]()


@given(st.lists(actions, max_size=25))
def test_storage_and_memory_agree_whatever_happens(history: list[Action]) -> None:
    storage = InMemoryStorage()
    trials = new_trials(space_of(CONDITIONAL), storage)
    for action in [("add", 0, 0.0), *history]:
        act(trials, action)
        check_agreement(trials, storage)


CUT_SHORT = [
    (ending, call)
    for ending in (used_up(0.5), cut(0.25, 3), diverged(4, 0.1), failed(2))
    for call in ("set_trial_intermediate_value", "set_trial_state_values")
    if ending.state != "failed" or call == "set_trial_state_values"
]


@pytest.mark.parametrize(("ending", "call"), CUT_SHORT)
def test_an_end_that_was_cut_short_is_completed(
    ending: Ending, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole := tmp_path / "whole").mkdir()
    one_trial(whole, lambda own: own.end(0, ending))
    storage = sqlite(tmp_path)
    trials = new_trials(space_of(CONDITIONAL), storage)
    trials.add(WARM, seed=7)
    cut_power_at(storage, call, monkeypatch)
    with pytest.raises(PowerCutError):
        trials.end(0, ending)
    assert stored(tmp_path, "infonce")[0].state == TrialState.RUNNING
    assert reopened(tmp_path)[0].shown_state == ending.state
    reopened(tmp_path).settle()
    (expected,), (found,) = stored(whole, "infonce"), stored(tmp_path, "infonce")
    assert (found.state, found.value) == (expected.state, expected.value)
    assert repr(found.intermediate_values) == repr(expected.intermediate_values)
    assert facts(reopened(tmp_path)[0]) == facts(reopened(whole)[0])


def test_a_settled_trial_has_ended_or_waits(tmp_path: Path) -> None:
    trials = reopened(tmp_path)
    for _ in range(5):
        trials.add(COLD, seed=0)
    trials.end(0, used_up())
    trials.pause(2)
    trials.end(3, failed())
    trials.report(4, 3, 0.5)
    after = reopened(tmp_path)
    after.settle()
    assert [(trial.number, trial.state, trial.epochs) for trial in after] == [
        (0, "complete", 27), (1, "paused", 0), (2, "paused", 0), (3, "failed", 0), (4, "paused", 3),
    ]  # fmt: skip
    states = [trial.state.name for trial in stored(tmp_path, "infonce")]
    assert states == ["COMPLETE", "WAITING", "WAITING", "FAIL", "WAITING"]


def test_trials_in_memory_share_what_their_parameters_are_drawn_from(tmp_path: Path) -> None:
    first = new_trials(space_of(CONDITIONAL), sqlite(tmp_path))
    for point in (COLD, WARM, WARM):
        first.add(point, seed=7)
    for trials in (first, reopened(tmp_path)):
        cold, warm, other = trials.draft()[0].get_trials(deepcopy=False)
        assert set(cold.distributions) < set(warm.distributions) == set(WARM)
        for name, shared in warm.distributions.items():
            assert other.distributions[name] is shared
            assert cold.distributions.get(name, shared) is shared
        assert [trial.distributions for trial in stored(tmp_path, "infonce")] == [
            trial.distributions for trial in (cold, warm, other)
        ]
    trials.end(2, used_up(0.5, 9))
    ended = trials.draft()[0].get_trials(deepcopy=False)[2]
    assert ended.distributions["temperature"] is warm.distributions["temperature"]


def test_a_trial_that_was_drawn_from_something_else_keeps_that(tmp_path: Path) -> None:
    new_trials(space_of(CONDITIONAL), sqlite(tmp_path)).add(WARM, seed=7)
    narrow = new_trials(space_of(CONDITIONAL.replace("low: 0.01", "low: 0.02")), sqlite(tmp_path))
    (kept,) = narrow.draft()[0].get_trials(deepcopy=False)
    assert kept.distributions == stored(tmp_path, "infonce")[0].distributions
