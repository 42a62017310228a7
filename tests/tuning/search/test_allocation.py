"""Whose turn it is: equal budgets, and a race whose drops are kept in the truth."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from losstune.tuning.search.allocation import Turns
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.lost_trials import GIVEN_UP_AFTER, try_again
from tests.tuning.samples import CONTINUOUS, cut, failed, new_trials, settings_of, space_of, sqlite, stored, used_up
from tests.tuning.simulation import Launch

POINT = {"lr": 0.001, "model.dropout": 0.5}
LOSSES = ("mse", "cosine", "infonce")


def spaces_of(*losses: str) -> list[SearchSpace]:
    return [space_of(CONTINUOUS.replace("loss_fn: mse", f"loss_fn: {loss}")) for loss in losses]


def trials_of(*losses: str, storage: Any = None) -> dict[str, LossTrials]:
    return {space.name: new_trials(space, storage) for space in spaces_of(*losses)}


def end_trials(own: LossTrials, *values: float, epochs: int = 3) -> None:
    for value in values:
        own.end(own.add(POINT, seed=0), cut(value, epochs))


def race_settings(**changes: Any) -> StudySettings:
    """A race in which a loss is judged after its eighth trial of 3 epochs."""
    return settings_of(**{"race": True, "max_epochs": 3, "grace_epochs": 3, "epochs_per_loss": 30, **changes})


# Equal budgets


def test_the_next_trial_goes_to_the_loss_that_spent_the_fewest_epochs() -> None:
    turns = Turns(trials_of(*LOSSES), settings_of(max_epochs=3, epochs_per_loss=9))
    given = []
    while (loss := turns.next_loss([])) is not None:
        given.append(loss)
        turns.spend(loss, 3)
    assert given == list(LOSSES) * 3


def test_of_equals_the_one_with_fewer_running_trials_is_next() -> None:
    turns = Turns(trials_of("mse", "cosine"), settings_of())
    assert [turns.next_loss(busy) for busy in ([], ["mse"], ["mse", "cosine"], ["mse", "cosine", "mse"])] == [
        "mse",
        "cosine",
        "mse",
        "cosine",
    ]


def test_each_loss_has_its_own_budget_of_epochs() -> None:
    turns = Turns(trials_of("mse", "cosine"), settings_of(max_epochs=3, epochs_per_loss=9))
    turns.spend("mse", 9)
    turns.spend("cosine", 8)
    assert turns.next_loss([]) == "cosine"
    turns.spend("cosine", 1)
    assert turns.next_loss([]) is None


def test_each_loss_has_its_own_budget_of_trials() -> None:
    trials = trials_of("mse", "cosine")
    end_trials(trials["mse"], 0.1, 0.2)
    turns = Turns(trials, settings_of(max_epochs=3, trials=2))
    assert turns.next_loss([]) == "cosine"
    end_trials(trials["cosine"], 0.1, 0.2)
    assert turns.next_loss([]) is None


def test_what_earlier_launches_spent_counts() -> None:
    trials = trials_of("mse", "cosine")
    end_trials(trials["mse"], 0.1, epochs=9)
    assert Turns(trials, settings_of(max_epochs=3, epochs_per_loss=18)).next_loss([]) == "cosine"


def test_an_exhausted_loss_gets_no_turn() -> None:
    turns = Turns(trials_of("mse", "cosine"), settings_of())
    turns.exhaust("mse")
    assert turns.next_loss(["cosine"]) == "cosine"
    turns.exhaust("cosine")
    assert turns.next_loss([]) is None


def test_without_a_race_nobody_is_dropped() -> None:
    trials = trials_of("mse", "infonce")
    end_trials(trials["mse"], *[0.1] * 8)
    end_trials(trials["infonce"], *[0.9] * 8)
    turns = Turns(trials, race_settings(race=False))
    assert turns.judge() == []
    assert [own.dropped for own in trials.values()] == [None, None]
    assert turns.next_loss([]) == "mse"


def fail_trials(own: LossTrials, count: int) -> None:
    for _ in range(count):
        own.end(own.add(POINT, seed=0), failed())


def test_a_trial_that_ended_before_its_first_epoch_spends_one() -> None:
    trials = trials_of("mse", "cosine")
    end_trials(trials["mse"], 0.1, epochs=3)
    fail_trials(trials["mse"], 6)
    end_trials(trials["cosine"], 0.1, epochs=8)
    turns = Turns(trials, settings_of(max_epochs=3, epochs_per_loss=10))
    assert turns.next_loss([]) == "cosine"
    turns.spend("cosine", 2)
    assert turns.next_loss([]) == "mse"
    turns.spend("mse", 1)
    assert turns.next_loss([]) is None


@pytest.mark.parametrize("race", [False, True])
def test_a_loss_whose_first_trials_all_failed_gets_no_more_until_one_has_a_value(race: bool) -> None:
    trials = trials_of("mse", "cosine")
    end_trials(trials["cosine"], 0.1, epochs=20)
    fail_trials(trials["mse"], GIVEN_UP_AFTER - 1)
    turns = Turns(trials, settings_of(race=race, max_epochs=27, grace_epochs=9))  # too soon to be dropped
    assert turns.next_loss([]) == "mse"
    running = trials["mse"].add(POINT, seed=0)
    fail_trials(trials["mse"], 1)
    assert turns.next_loss(["mse"]) == "cosine"
    trials["mse"].report(running, 3, 0.1)
    assert turns.next_loss(["mse"]) == "mse"
    trials["mse"].end(running, failed(4))
    assert turns.next_loss([]) == "cosine"
    try_again(trials["mse"], study_seed=0)
    assert turns.next_loss([]) == "mse"


def test_no_more_trials_are_started_than_some_that_wait_for_room() -> None:
    """They spend nothing until they run, which is at the end."""
    trials = trials_of("mse", "cosine")
    end_trials(trials["cosine"], 0.1, epochs=8)
    turns = Turns(trials, settings_of(max_epochs=3, epochs_per_loss=10))
    assert turns.next_loss([], ["mse"] * (GIVEN_UP_AFTER - 1)) == "mse"
    assert turns.next_loss([], ["mse"] * GIVEN_UP_AFTER) == "cosine"
    fail_trials(trials["mse"], 1)
    assert turns.next_loss([], ["mse"] * (GIVEN_UP_AFTER - 1)) == "cosine"


# A race


@pytest.mark.parametrize("budget", [{"epochs_per_loss": 30}, {"epochs_per_loss": None, "trials": 10}])
def test_a_loss_that_can_not_win_is_dropped_and_the_other_gets_its_share(budget: dict[str, int | None]) -> None:
    trials = trials_of("mse", "infonce")
    turns = Turns(trials, race_settings(**budget))
    end_trials(trials["infonce"], *[0.1 + 0.05 * n for n in range(10)])
    end_trials(trials["mse"], *[0.1] * 8)
    turns.spend("infonce", 30)
    turns.spend("mse", 24)
    (dropped,) = turns.judge()
    assert dropped.loss == "mse"
    assert trials["mse"].dropped == dropped.to_dict()
    assert trials["infonce"].dropped is None
    assert turns.judge() == []  # not again
    given = []
    while (loss := turns.next_loss([])) is not None:
        given.append(loss)
        end_trials(trials[loss], 0.5)
        turns.spend(loss, 3)
    assert given == ["infonce", "infonce"]  # 18 of 20 trials, 54 of 60 epochs, were used


def test_a_race_is_for_one_budget_together() -> None:
    """The loss that is slower to spend may have more than its equal share, until nothing is left."""
    trials = trials_of("mse", "infonce")
    turns = Turns(trials, race_settings())
    turns.spend("infonce", 40)
    assert turns.next_loss([]) == "mse"
    turns.spend("mse", 19)
    assert turns.next_loss([]) == "mse"
    turns.spend("mse", 1)
    assert turns.next_loss([]) is None


def test_a_drop_is_in_the_storage_and_survives_a_restart(tmp_path: Path) -> None:
    trials = trials_of("mse", "infonce", storage=sqlite(tmp_path))
    end_trials(trials["mse"], *[0.1] * 8)
    end_trials(trials["infonce"], *[0.9] * 3)
    (dropped,) = Turns(trials, race_settings()).judge() or [Dropped.from_dict(trials["mse"].dropped or {})]
    again = trials_of("mse", "infonce", storage=sqlite(tmp_path))
    assert Dropped.from_dict(again["mse"].dropped or {}) == dropped
    turns = Turns(again, race_settings())
    assert turns.judge() == []
    assert turns.next_loss([]) == "infonce"  # though mse has spent fewer epochs than its share
    turns.spend("infonce", 20)
    assert turns.next_loss([]) == "infonce"


def test_a_dropped_loss_that_still_rises_is_back(tmp_path: Path) -> None:
    """A trial that was running when its loss was dropped ends above the bound."""
    trials = trials_of("mse", "infonce", storage=sqlite(tmp_path))
    running = trials["mse"].add(POINT, seed=0)
    end_trials(trials["mse"], *[0.1] * 8)
    end_trials(trials["infonce"], *[0.5] * 3)
    turns = Turns(trials, race_settings())
    assert trials["mse"].dropped is not None
    trials["mse"].end(running, used_up(0.8, 3, 3))
    turns.judge()
    assert trials["mse"].dropped is None
    assert turns.next_loss([]) == "infonce"  # 9 epochs, mse 24: its turn comes again
    turns.spend("infonce", 18)
    assert turns.next_loss([]) == "mse"


# Whole launches


class Handicap(Launch):
    """A launch whose cosine loss trains to a third of what the others reach, and so can not win."""

    def tell(self, trial_id: str, report: Any) -> None:
        if report.loss == "cosine" and report.best > 0:
            report = type(report)(**{**vars(report), "best": report.best / 3})
        super().tell(trial_id, report)


def race_study(**changes: Any) -> StudySettings:
    given = {"race": True, "max_epochs": 9, "grace_epochs": 3, "epochs_per_loss": 240, "sampler": "random", "seed": 4}
    return settings_of(**{**given, **changes})


def drops_of(trials: Mapping[str, LossTrials]) -> dict[str, Any]:
    return {loss: own.dropped for loss, own in trials.items()}


def spent(launch: Launch) -> dict[str, int]:
    return {loss: sum(trial.epochs for trial in own) for loss, own in launch.trials.items()}


def test_a_raced_launch_ends_at_the_budget_of_all_and_keeps_the_reason(tmp_path: Path) -> None:
    launch = Handicap(sqlite(tmp_path), spaces_of("mse", "cosine"), race_study(), tmp_path, concurrency=2).run()
    used = spent(launch)
    assert 480 <= sum(used.values()) < 480 + 2 * 9
    assert used["cosine"] < 240 < used["mse"]
    kept = stored_attrs(tmp_path, "cosine")["dropped"]
    drop = Dropped.from_dict(kept)
    assert drop.leader == "mse"
    assert str(drop).startswith(f"cosine after {drop.spent} epochs: best ")
    assert stored_attrs(tmp_path, "mse").get("dropped") is None
    after = [trial for trial in launch.trials["cosine"] if trial.ending is not None]
    assert drop.spent <= sum(trial.epochs for trial in after) <= drop.spent + 2 * 9  # what was running went on
    assert len(stored(tmp_path, "cosine")) == len(after)


def stored_attrs(folder: Path, loss: str) -> dict[str, Any]:
    """As anyone who opens the file with Optuna sees them."""
    import optuna

    return optuna.load_study(study_name=loss, storage=f"sqlite:///{folder / 'optuna.db'}").user_attrs


def test_the_same_launch_without_race_spends_equally_and_keeps_no_reason(tmp_path: Path) -> None:
    settings = race_study(race=False)
    launch = Handicap(sqlite(tmp_path), spaces_of("mse", "cosine"), settings, tmp_path).run()
    assert all(240 <= epochs < 240 + 9 for epochs in spent(launch).values())
    assert drops_of(launch.trials) == {"mse": None, "cosine": None}
    assert "dropped" not in stored_attrs(tmp_path, "cosine")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_a_race_interrupted_at_random_events_drops_the_same(tmp_path: Path, seed: int) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    whole = Handicap(sqlite(undisturbed), spaces_of("mse", "cosine"), race_study(), undisturbed).run()
    chance = random.Random(seed)
    while True:
        launch = Handicap(sqlite(disturbed), spaces_of("mse", "cosine"), race_study(), disturbed)
        stop = chance.randint(20, 80)
        if sum(1 for _, _ in zip(range(stop), launch.events(), strict=False)) < stop:
            break
    assert drops_of(launch.trials) == drops_of(whole.trials)
    assert drops_of(whole.trials)["cosine"] is not None
    assert spent(launch) == spent(whole)
