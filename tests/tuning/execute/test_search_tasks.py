"""The searcher between Ray and Optuna: what it proposes, what it writes down, how it goes on after a crash."""

import functools
import itertools
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from losstune.trainer.config.train_config import TrainConfig
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import SamplerName, StudySettings
from losstune.tuning.study.lost_trials import GIVEN_UP_AFTER, try_again
from losstune.tuning.study.messages import Report, Task
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.trial import TrialView
from tests.tuning.samples import PowerCutError, cut_power_at, facts, settings_of, space_of, sqlite, stored
from tests.tuning.simulation import Fate, Launch, folder_of, uses_its_epochs, value_at, write_history

FINISHED = "FINISHED"


def space_for(loss_fn: str) -> SearchSpace:
    return space_of(f"""
        loss_fn: {loss_fn}
        start:
          - {{lr: 1e-3, model.dropout: 0.0}}
        space:
          lr: {{low: 1e-4, high: 1.0, log: true}}
          model.dropout: {{low: 0.0, high: 0.5}}
    """)


def quick(**given: Any) -> StudySettings:
    """Nine epochs, rungs at 1 and 3."""
    return settings_of(**{"max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3, **given})


def launch(folder: Path, *losses: str, storage: BaseStorage | None = None, **given: Any) -> Launch:
    concurrency, fate = given.pop("concurrency", 1), given.pop("fate", uses_its_epochs)
    spaces = [space_for(loss) for loss in losses or ("mse",)]
    return Launch(storage or sqlite(folder), spaces, quick(**given), folder, concurrency, fate)


def mixed_fates(task: Task) -> tuple[int, str]:
    """Every kind of end, by the trial's own seed."""
    fates = [
        *[(9, "epochs"), (9, "epochs"), (2, "diverged"), (4, "diverged")],
        *[(3, "error"), (9, "error"), (3, "patience"), (6, "patience")],
    ]
    return fates[task.settings["seed"] % len(fates)]


def all_end(epoch: int, kind: str) -> Fate:
    return lambda task: (epoch, kind)


def report_of(task: Task, epoch: int, best: float, end: Any = None, error: str = "") -> Report:
    return Report(task.loss, task.number, epoch, best, epoch, end, error, task.passed, 0.0)


def spent(trials: list[TrialView]) -> int:
    return sum(trial.epochs for trial in trials)


def test_none_while_all_slots_are_busy(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=5, concurrency=2)
    first, second = run.start(), run.start()
    assert isinstance(first, Task)
    assert isinstance(second, Task)
    assert run.start() is None
    assert run.start() is None
    run.tell("id0", report_of(first, 9, 0.5, "epochs"))
    assert isinstance(run.start(), Task)
    assert run.start() is None


def test_a_task_is_a_whole_training_config(tmp_path: Path) -> None:
    space = space_of("""
        loss_fn: cosine_mse
        start: [{cosine_weight: 0.75}]
        space: {cosine_weight: {low: 0.0, high: 1.0}}
        derived: {mse_weight: 1 - cosine_weight}
        fixed: {weight_decay: 0.125}
    """)
    task = Launch(sqlite(tmp_path), [space], quick(seed=5), tmp_path).start()
    assert task.settings == {
        "loss_fn": "cosine_mse", "cosine_weight": 0.75, "mse_weight": 0.25, "weight_decay": 0.125,
        "num_epochs": 9, "schedule_epochs": 9, "threads": 1, "seed": derived_seed(5, "cosine_mse", 0),
    }  # fmt: skip
    assert TrainConfig.from_flat(task.settings).loss.name == "cosine_mse"
    assert (task.loss, task.number, task.rungs, task.passed) == ("cosine_mse", 0, (1, 3), ())
    assert folder_of(task) == tmp_path / "trials" / "cosine_mse-0000"


def test_failed_trials_are_tried_again_though_the_budget_is_used(tmp_path: Path) -> None:
    no_rungs = {"trials": 3, "grace_epochs": 9}
    before = launch(tmp_path, fate=all_end(3, "error"), **no_rungs).run()
    again = launch(tmp_path, **no_rungs)
    assert again.start() == "FINISHED"
    try_again(again.trials["mse"], study_seed=0)
    again = launch(tmp_path, **no_rungs).run()
    assert [task.number for task in again.tasks] == [3, 4, 5]
    points = [[task.settings[name] for name in ("lr", "model.dropout")] for task in before.tasks + again.tasks]
    assert points[:3] == points[3:]
    assert [trial.state for trial in again.trials["mse"]] == ["failed"] * 3 + ["complete"] * 3
    assert stored(tmp_path, "mse")[3].user_attrs["seed"] == again.tasks[0].settings["seed"]


def fails_at_once(loss: str) -> Fate:
    return lambda task: (1, "error") if task.loss == loss else (9, "epochs")


@pytest.mark.parametrize("given", [{}, {"race": True}, {"trials": 30}], ids=["level", "race", "trials"])
def test_a_loss_that_can_not_be_trained_ends_and_the_others_have_their_trials(
    given: dict[str, Any], tmp_path: Path
) -> None:
    budget = {} if "trials" in given else {"epochs_per_loss": 60}
    run = launch(tmp_path, "mse", "cosine", fate=fails_at_once("mse"), **budget, **given).run()
    assert [trial.state for trial in run.trials["mse"]] == ["failed"] * GIVEN_UP_AFTER
    cosine = list(run.trials["cosine"])
    assert len(cosine) == 30 if "trials" in given else spent(cosine) >= 60
    assert run.start() == FINISHED
    assert run.said == (
        "mse starts no more trials: 10 have failed, and none has a value (ValueError: this setting can not be "
        "trained); once the cause is mended, the same command with --retry-failed tries them again and goes on\n"
    )


def test_a_loss_that_could_not_be_trained_goes_on_once_it_can(tmp_path: Path) -> None:
    given = {"epochs_per_loss": 20, "fate": fails_at_once("mse")}
    launch(tmp_path, **given).run()
    again = launch(tmp_path, **given)
    assert again.start() == FINISHED
    mended = launch(tmp_path, epochs_per_loss=20)
    try_again(mended.trials["mse"], study_seed=0)
    mended = launch(tmp_path, epochs_per_loss=40).run()
    assert [task.number for task in mended.tasks[:10]] == list(range(10, 20))
    assert spent(list(mended.trials["mse"])) >= 30  # 40 in all: each that failed has spent one


@pytest.mark.parametrize("stop", [3, 9, 14, 19, 20, 30])
def test_a_launch_that_is_interrupted_gives_up_alike(stop: int, tmp_path: Path) -> None:
    stories = []
    for folder, stops in ((tmp_path / "whole", 10_000), (tmp_path / "cut", stop)):
        folder.mkdir()
        given = {"epochs_per_loss": 40, "fate": fails_at_once("mse")}
        for _ in zip(range(stops), launch(folder, "mse", "cosine", **given).events(), strict=False):
            pass
        stories.append(story(launch(folder, "mse", "cosine", **given).run()))
    assert stories[0] == stories[1]


def no_room(task: Task) -> Report:
    return report_of(task, 0, -math.inf, "memory", "CUDA out of memory")


def test_a_model_that_fits_no_gpu_comes_to_an_end(tmp_path: Path) -> None:
    run = launch(tmp_path, epochs_per_loss=40)
    for number in range(2 * GIVEN_UP_AFTER):
        run.tell(f"id{number}", no_room(run.start()))
    assert run.start() == FINISHED
    assert [trial.state for trial in run.trials["mse"]] == ["failed"] * GIVEN_UP_AFTER


def test_epochs_before_there_was_no_room_are_spent_once(tmp_path: Path) -> None:
    """What lies after its last rung is trained again, and told again."""
    run = launch(tmp_path, "mse", "cosine", epochs_per_loss=20)
    first = run.start()
    for epoch in (3, 8):
        run.tell("id0", report_of(first, epoch, 0.5))
    run.tell("id0", no_room(first))
    second = run.start()
    run.tell("id1", report_of(second, 5, 0.5, "patience"))
    assert (second.loss, run.start().loss) == ("cosine", "mse")


def test_time_ends_the_trials_of_this_launch_and_leaves_what_it_did_not_begin(tmp_path: Path) -> None:
    before = launch(tmp_path, trials=6, concurrency=3, fate=all_end(1, "error")).run()
    try_again(before.trials["mse"], study_seed=0)
    run = launch(tmp_path, trials=6, concurrency=3)
    tasks = [run.start() for _ in range(3)]
    write_history(folder_of(tasks[0]), 0.3, 0.4)
    run.tell("id1", report_of(tasks[1], 1, 0.5, "epochs"))
    run.tell("id2", no_room(tasks[2]))
    run.search.wind_up(timed_out=True)
    ends = [(trial.number, trial.state, trial.epochs) for trial in run.trials["mse"]][6:]
    assert ends == [
        (6, "pruned", 2), (7, "complete", 1), (8, "pruned", 0), (9, "paused", 0), (10, "paused", 0), (11, "paused", 0),
    ]  # fmt: skip
    try_again(run.trials["mse"], study_seed=0)
    after = launch(tmp_path, trials=6).run()
    assert [(task.number, after.trials["mse"][task.number].retry_of) for task in after.tasks] == [
        (9, 3), (10, 4), (11, 5), (12, 2),
    ]  # fmt: skip


def test_every_trial_trains_with_a_seed_of_its_own(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", trials=4).run()
    seeds = {(task.loss, task.number): task.settings["seed"] for task in run.tasks}
    assert len(set(seeds.values())) == 8
    recorded = {(loss, t.number): t.user_attrs["seed"] for loss in ("mse", "cosine") for t in stored(tmp_path, loss)}
    assert recorded == seeds


def test_a_trial_from_start_to_end(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=1).run()
    (task,), (trial,) = run.tasks, stored(tmp_path, "mse")
    assert (trial.state, trial.value) == (TrialState.COMPLETE, value_at(task.settings, 9))
    assert trial.intermediate_values == {epoch: value_at(task.settings, epoch) for epoch in (1, 3, 9)}
    (view,) = run.trials["mse"]
    assert view.ending is not None
    assert (view.ending.reason, view.ending.epochs, view.ending.best_epoch) == ("used its epochs", 9, 9)


def test_the_value_of_a_cut_is_told_at_its_rung(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=12).run()
    cuts = [trial for trial in run.trials["mse"] if trial.state == "pruned"]
    assert cuts
    for trial in cuts:
        rung = max(trial.rungs)
        assert trial.ending is not None
        assert (trial.ending.reason, trial.ending.epochs) == (f"cut at rung {rung}", rung)
        assert trial.rungs[rung] == trial.ending.best == value_at(trial.point, rung)
    assert {trial.epochs for trial in cuts} == {1, 3}


def test_only_rungs_are_told_of_a_trial_under_way(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=1)
    task = run.start()
    for epoch in (1, 2, 3, 4, 8):
        run.tell("id0", report_of(task, epoch, epoch / 10))
    (trial,) = stored(tmp_path, "mse")
    assert (trial.state, trial.intermediate_values) == (TrialState.RUNNING, {1: 0.1, 3: 0.3})


def test_patience_says_since_when(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=1)
    task = run.start()
    run.tell("id0", Report("mse", 0, 6, 0.4, 2, "patience", "", task.passed, 0.0))
    (trial,) = run.trials["mse"]
    assert trial.ending is not None
    assert (trial.state, trial.ending.reason, trial.ending.best) == ("complete", "no new best since epoch 2", 0.4)
    assert stored(tmp_path, "mse")[0].value == 0.4


@pytest.mark.parametrize(("epoch", "best"), [(5, 0.4), (1, -math.inf)])
def test_divergence_is_pruned_and_ranked_last(epoch: int, best: float, tmp_path: Path) -> None:
    run = launch(tmp_path, trials=1)
    task = run.start()
    best_epoch = 2 if best > -math.inf else 0
    run.tell("id0", Report("mse", 0, epoch, best, best_epoch, "diverged", "", task.passed, 0.0))
    (trial,) = run.trials["mse"]
    assert trial.ending is not None
    assert (trial.state, trial.ending.reason, trial.rank_value) == ("pruned", "diverged", -math.inf)
    assert trial.ending.best == (best if best_epoch else None)
    (written,) = stored(tmp_path, "mse")
    assert written.state == TrialState.PRUNED
    assert math.isnan(written.intermediate_values[epoch])


def test_an_error_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=2)
    task = run.start()
    write_history(folder_of(task), 0.1, 0.4, 0.3)
    run.tell("id0", report_of(task, 0, -math.inf, "error", "ValueError: no such number"))
    (trial,) = run.trials["mse"]
    assert trial.ending is not None
    assert (trial.state, trial.ending.reason) == ("failed", "ValueError: no such number")
    assert (trial.ending.epochs, trial.ending.best, trial.ending.best_epoch) == (3, 0.4, 2)
    assert stored(tmp_path, "mse")[0].state == TrialState.FAIL
    assert isinstance(run.start(), Task)


def test_a_worker_that_died_is_a_failure(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=2)
    run.start()
    run.lose("id0")
    (trial,) = run.trials["mse"]
    assert trial.ending is not None
    assert (trial.state, trial.ending.reason, trial.ending.epochs) == ("failed", "its worker died", 0)
    assert isinstance(run.start(), Task)


def test_what_a_dead_worker_had_trained_counts_as_spent_at_once(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", epochs_per_loss=90)
    first = run.start()
    assert first.loss == "mse"
    write_history(folder_of(first), 0.1, 0.2, 0.3, 0.4)
    run.lose("id0")
    second = run.start()
    assert second.loss == "cosine"
    run.tell("id1", report_of(second, 3, 0.5, "patience"))
    assert run.start().loss == "cosine"


def test_trials_budget_gives_each_loss_its_number(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", "infonce", trials=4).run()
    assert {loss: len(own) for loss, own in run.trials.items()} == {"mse": 4, "cosine": 4, "infonce": 4}
    assert run.start() == FINISHED


@pytest.mark.parametrize("concurrency", [1, 3])
def test_epochs_budget_is_used_and_overdrawn_by_less_than_a_trial_a_slot(concurrency: int, tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", epochs_per_loss=50, concurrency=concurrency, fate=mixed_fates).run()
    for own in run.trials.values():
        assert 50 <= spent(list(own)) < 50 + 9 * concurrency
    assert run.start() == FINISHED


def short_mse(task: Task) -> tuple[int, str]:
    return (2, "patience") if task.loss == "mse" else (9, "epochs")


def test_the_next_trial_goes_to_the_loss_that_has_spent_the_fewest_epochs(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", epochs_per_loss=40, fate=short_mse)
    started = 0
    for _ in run.events():
        if len(run.tasks) > started:
            started = len(run.tasks)
            before = {loss: spent(list(own)) for loss, own in run.trials.items()}
            assert before[run.tasks[-1].loss] == min(before.values())
    assert len(run.trials["mse"]) > len(run.trials["cosine"])
    ends = [spent(list(own)) for own in run.trials.values()]
    assert max(ends) - min(ends) <= 9


def test_slots_are_shared_out_between_losses(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", trials=4, concurrency=4)
    assert [run.start().loss for _ in range(4)] == ["mse", "cosine", "mse", "cosine"]


def test_a_loss_whose_points_are_used_up_leaves_the_rest_to_the_others(tmp_path: Path) -> None:
    spaces = [space_of("loss_fn: cosine\nspace: {lr: {choices: [1e-3, 1e-2]}}"), space_for("mse")]
    run = Launch(sqlite(tmp_path), spaces, quick(trials=5), tmp_path).run()
    assert {loss: len(own) for loss, own in run.trials.items()} == {"cosine": 2, "mse": 5}


def test_no_trial_is_left_running(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", trials=6, concurrency=3, fate=mixed_fates).run()
    ends = [trial.state for loss in run.trials for trial in stored(tmp_path, loss)]
    assert len(ends) == 12
    assert set(ends) <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert run.start() == FINISHED


def test_what_a_launch_that_is_stopped_has_begun_waits(tmp_path: Path) -> None:
    run = launch(tmp_path, trials=5, concurrency=3)
    tasks = [run.start() for _ in range(3)]
    run.tell("id1", report_of(tasks[1], 9, 0.5, "epochs"))
    run.search.wind_up(timed_out=False)
    assert [trial.state for trial in run.trials["mse"]] == ["paused", "complete", "paused"]


def test_unfinished_trials_come_first_and_know_their_rungs(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", trials=3, concurrency=4)
    before = [run.start() for _ in range(4)]
    run.tell("id2", report_of(before[2], 1, 0.9))
    run.tell("id2", report_of(before[2], 3, 0.9))
    after = launch(tmp_path, "mse", "cosine", trials=3, concurrency=6)
    again = [after.start() for _ in range(6)]
    assert [(task.loss, task.number) for task in again[:4]] == [("mse", 0), ("mse", 1), ("cosine", 0), ("cosine", 1)]
    assert [task.passed for task in again[:4]] == [(), (1, 3), (), ()]
    assert {(task.loss, task.number) for task in again[4:]} == {("mse", 2), ("cosine", 2)}
    settings = {(task.loss, task.number): task.settings for task in before}
    assert {(task.loss, task.number): task.settings for task in again[:4]} == settings


def test_an_end_that_was_cut_short_counts_at_its_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six values at a rung the best two go on, of five only the best."""
    storage = InMemoryStorage()
    run = launch(tmp_path, storage=storage, trials=6)
    first = run.start()
    for epoch in (1, 9):
        run.tell("id0", report_of(first, epoch, 0.9, "epochs" if epoch == 9 else None))
    for number in (1, 2, 3):
        run.tell(f"id{number}", report_of(run.start(), 1, number / 10))
    fifth = run.start()
    with monkeypatch.context() as patch:
        cut_power_at(storage, "set_trial_intermediate_value", patch)
        with pytest.raises(PowerCutError):
            run.tell("id4", report_of(fifth, 1, 0.3))
    after = launch(tmp_path, storage=storage, trials=6)
    assert [trial.state for trial in after.trials["mse"]] == ["complete", *["pruned"] * 4]
    after.tell("id0", report_of(after.start(), 1, 0.5))
    assert "id0" in after.workers


def test_a_trial_does_not_train_on_from_a_rung_that_could_not_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launch(tmp_path, storage=(storage := InMemoryStorage()))
    result = report_of(run.start(), 1, 0.5).to_result()
    nothing: Any = None
    with monkeypatch.context() as patch:
        patch.setattr(storage, "set_trial_intermediate_value", disk_full)
        assert run.scheduler.on_trial_result(nothing, nothing, result) == TrialScheduler.NOOP
    assert run.searcher.storage_error == "optuna.db: can not be written: No space left on device"
    assert run.trials["mse"][0].rungs == {}


def disk_full(*_: object) -> None:
    raise OSError("No space left on device")


def test_a_continued_trial_spends_only_what_is_new(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", epochs_per_loss=90)
    task = run.start()
    run.tell("id0", report_of(task, 3, 0.5))
    after = launch(tmp_path, "mse", "cosine", epochs_per_loss=90)
    task = after.start()
    assert (task.loss, task.passed) == ("mse", (3,))
    after.tell("id0", report_of(task, 4, 0.5, "patience"))  # mse has spent 4 epochs, cosine none
    for epochs in (3, 2):
        task = after.start()
        assert task.loss == "cosine"
        after.tell(f"id{len(after.tasks) - 1}", report_of(task, epochs, 0.5, "patience"))
    assert after.start().loss == "mse"


def test_a_worker_that_starts_again_is_not_counted_twice(tmp_path: Path) -> None:
    run = launch(tmp_path, "mse", "cosine", epochs_per_loss=90)
    task = run.start()
    for epoch in (1, 3, 1, 3, 4):
        run.tell("id0", report_of(task, epoch, 0.5, "patience" if epoch == 4 else None))
    task = run.start()
    assert task.loss == "cosine"
    run.tell("id1", report_of(task, 5, 0.5, "patience"))
    assert run.start().loss == "mse"


Story = list[tuple[Any, ...]]


def story(run: Launch) -> Story:
    return [facts(trial) for own in run.trials.values() for trial in own]


def play(storage: BaseStorage, folder: Path, crashes: set[int], **given: Any) -> Story:
    """A study of two losses to its end, whose process dies after some of its events."""
    turn = itertools.count(1)
    while True:
        run = launch(folder, "mse", "cosine", storage=storage, fate=mixed_fates, epochs_per_loss=60, **given)
        for _ in run.events():
            if next(turn) in crashes:
                break
        else:
            return story(run)


@functools.cache
def undisturbed(sampler: SamplerName = "gp") -> Story:
    with TemporaryDirectory() as folder:
        return play(InMemoryStorage(), Path(folder), set(), sampler=sampler)


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
@hypothesis_settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(crashes=st.sets(st.integers(1, 150), min_size=1, max_size=6))
def test_a_study_that_crashed_proposes_and_cuts_as_if_it_had_not(sampler: SamplerName, crashes: set[int]) -> None:
    with TemporaryDirectory() as folder:
        found = play(InMemoryStorage(), Path(folder), crashes, sampler=sampler)
    assert found == undisturbed(sampler)


def test_the_samplers_propose_differently() -> None:
    assert undisturbed("gp") != undisturbed("tpe")


def test_a_study_on_disk_that_crashed_proposes_and_cuts_as_if_it_had_not(tmp_path: Path) -> None:
    turn, run = 0, None
    while run is None or turn in (7, 40, 101):
        run = launch(tmp_path, "mse", "cosine", epochs_per_loss=60, sampler="gp", fate=mixed_fates)
        for _ in run.events():
            turn += 1
            if turn in (7, 40, 101):
                break
    assert turn > 101
    assert story(run) == undisturbed()


def test_the_story_of_the_crashes_has_every_kind_of_end() -> None:
    reasons = {ending.reason.split(" at ")[0].split(" since ")[0] for *_, ending in undisturbed()}
    assert reasons == {
        "used its epochs", "cut", "no new best", "diverged", "ValueError: this setting can not be trained",
    }  # fmt: skip
    assert len(undisturbed()) > 12
