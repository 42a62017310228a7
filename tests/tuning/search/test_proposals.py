"""Where points come from: start points, then a sampler; repeatable, and never a point twice."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from losstune.tuning.search.proposals import propose
from losstune.tuning.space.reader import load_space
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.space.settings import SamplerName
from losstune.tuning.study.loss_trials import LossTrials, read_trials
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import (
    CONDITIONAL,
    CONTINUOUS,
    DISCRETE,
    cut,
    diverged,
    failed,
    new_trials,
    search,
    space_of,
    sqlite,
    used_up,
)

MIXED = """
    loss_fn: infonce
    space:
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 4, int: true, when: {schedule: cosine}}
      model.depth: {choices: [0, 1, 2]}
      model.dropout: {low: 0.0, high: 0.5, when: {model.depth: [1, 2]}}
      model.residual: {choices: [false, true], when: {model.depth: 2}}
"""
SMALL = """
    loss_fn: infonce
    start:
      - {schedule: cosine, warmup_epochs: 3, batch_size: 32, model.dropout: 0.5}
    space:
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 3, int: true, when: {schedule: cosine}}
      batch_size: {choices: [16, 32]}
      model.dropout: {low: 0.1, high: 0.7, step: 0.2}
    fixed: {model.depth: 1}
"""

samplers = pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "grid"])
drawing = pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
learning = pytest.mark.parametrize("sampler", ["gp", "tpe"])


def ending_of(number: int) -> Ending:
    """Every kind of end in turn, with values that look arbitrary but are always the same."""
    value = math.sin(number * 12.9)
    kinds = [used_up(value), cut(value, 3), cut(value, 9), diverged(4), failed(2), used_up(value)]
    return kinds[number % len(kinds)]


def train(trials: LossTrials, sampler: SamplerName, count: int, seed: int = 0) -> list[Point]:
    """Propose and end some trials; what was proposed."""
    points = []
    for _ in range(count):
        point = propose(trials, sampler, seed)
        assert point is not None
        points.append(point)
        number = trials.add(point, seed=0)
        trials.end(number, ending_of(number))
    return points


@samplers
def test_start_points_come_first_in_their_order(sampler: SamplerName) -> None:
    text = CONDITIONAL.replace("{low: 0.01, high: 1.0, log: true}", "{choices: [0.05, 0.07, 0.1]}")
    assert train(new_trials(space_of(text)), sampler, 2) == [
        {"temperature": 0.07, "schedule": "constant"},
        {"temperature": 0.05, "schedule": "cosine", "warmup_epochs": 2},
    ]


@samplers
def test_lists_of_prefixes_are_choices_that_a_study_keeps(sampler: SamplerName, tmp_path: Path) -> None:
    space = space_of("""
        loss_fn: infonce
        start: [{matryoshka_dims: [8, 16]}]
        space:
          matryoshka_dims: {choices: [null, [8, 16], 4, [4, 8, 16]]}
          matryoshka_weights: {choices: [null, [0.5, 1]], when: {matryoshka_dims: ["8,16"]}}
          batch_size: {choices: [32, 64, 128]}
    """)
    trials = new_trials(space, sqlite(tmp_path))
    points = train(trials, sampler, 12)
    assert points[0] == {"matryoshka_dims": "8,16", "matryoshka_weights": None, "batch_size": 32}
    assert {point["matryoshka_dims"] for point in points} <= {None, "8,16", "4", "4,8,16"}
    kept = read_trials(sqlite(tmp_path), "infonce")
    assert [trial.point for trial in kept] == points
    sizes = [[prefix.dims for prefix in space.train_config(point).prefixes] for point in points]
    assert sizes[0] == [8, 16]
    assert len({tuple(own) for own in sizes}) > 1


def test_equal_start_points_are_tried_once() -> None:
    text = "loss_fn: mse\nstart: [{lr: 0.1}, {lr: 1.0e-1}, {lr: 0.2}]\nspace: {lr: {low: 0.1, high: 0.9}}"
    points = train(new_trials(space_of(text)), "random", 3)
    assert points[:2] == [{"lr": 0.1}, {"lr": 0.2}]
    assert points[2]["lr"] not in (0.1, 0.2)


@drawing
@pytest.mark.parametrize("text", [CONTINUOUS, MIXED, CONDITIONAL], ids=["continuous", "mixed", "conditional"])
def test_the_same_history_gives_the_same_proposals(text: str, sampler: SamplerName) -> None:
    first = train(new_trials(space_of(text)), sampler, 16, seed=3)
    assert first == train(new_trials(space_of(text)), sampler, 16, seed=3)


@drawing
def test_asking_twice_changes_nothing(sampler: SamplerName) -> None:
    trials = new_trials(space_of(CONTINUOUS))
    train(trials, sampler, 12)
    assert propose(trials, sampler, 0) == propose(trials, sampler, 0)


@learning
def test_another_studys_trials_change_what_is_proposed_and_nothing_else(sampler: SamplerName) -> None:
    space = space_of(MIXED)
    before = new_trials(space)
    train(before, sampler, 20)
    earlier, trials, known = list(before), new_trials(space), []
    for _ in range(14):
        point = propose(trials, sampler, 5, earlier)
        assert point is not None
        assert propose(trials, sampler, 5, earlier) == point
        known.append(point)
        number = trials.add(point, seed=0)
        trials.end(number, ending_of(number))
    assert [trial.point for trial in trials] == known
    assert len({str(point) for point in known}) == 14
    assert train(new_trials(space), sampler, 14, seed=5) != known


@learning
def test_another_study_that_says_the_opposite_is_left_out(sampler: SamplerName) -> None:
    """From then on proposals are those of a study that knows nothing of it."""
    alike, opposite, trials = (new_trials(space_of(CONTINUOUS)) for _ in range(3))
    by_chance = partial(propose, sampler="random", study_seed=1)
    search(alike, by_chance, paraboloid)
    search(opposite, by_chance, lambda point: -paraboloid(point))
    for _ in range(12):
        point = propose(trials, "random", 0)
        assert point is not None
        trials.end(trials.add(point, seed=0), used_up(paraboloid(point)))
    own = propose(trials, sampler, 5)
    assert propose(trials, sampler, 5, list(opposite)) == own
    assert propose(trials, sampler, 5, list(alike)) != own


@drawing
def test_another_seed_gives_other_proposals(sampler: SamplerName) -> None:
    first = train(new_trials(space_of(CONTINUOUS)), sampler, 14, seed=3)
    second = train(new_trials(space_of(CONTINUOUS)), sampler, 14, seed=4)
    assert all(a != b for a, b in zip(first, second, strict=True))


@drawing
def test_losses_of_one_study_get_proposals_of_their_own(sampler: SamplerName) -> None:
    other = CONTINUOUS.replace("mse", "cosine")
    assert propose(new_trials(space_of(CONTINUOUS)), sampler, 0) != propose(new_trials(space_of(other)), sampler, 0)


@drawing
@pytest.mark.parametrize("text", [CONTINUOUS, MIXED], ids=["continuous", "mixed"])
def test_a_study_reopened_from_disk_goes_on_as_if_it_had_not_stopped(
    text: str, sampler: SamplerName, tmp_path: Path
) -> None:
    space = space_of(text)
    undisturbed = train(new_trials(space), sampler, 18)
    train(new_trials(space, sqlite(tmp_path)), sampler, 14)
    assert [propose(new_trials(space, sqlite(tmp_path)), sampler, 0)] == undisturbed[14:15]
    assert train(new_trials(space, sqlite(tmp_path)), sampler, 4) == undisturbed[14:]


@pytest.mark.parametrize("text", [CONTINUOUS, MIXED], ids=["continuous", "mixed"])
def test_pruned_trials_that_an_earlier_release_wrote_propose_the_same(text: str, monkeypatch) -> None:
    """It told Optuna no value of them: TPE ranks pruned trials by what they reported."""
    now = train(new_trials(space_of(text)), "tpe", 24)
    told = InMemoryStorage.set_trial_state_values
    valued = []

    def without_value(storage, trial_id, state, values=None):
        valued.append(state == TrialState.PRUNED and values is not None)
        return told(storage, trial_id, state, None if state == TrialState.PRUNED else values)

    monkeypatch.setattr(InMemoryStorage, "set_trial_state_values", without_value)
    assert train(new_trials(space_of(text)), "tpe", 24) == now
    assert sum(valued) == 16  # each in the storage and in the copy of it


NEXT_IN_A_NEW_PROCESS = """
import json, sys
from pathlib import Path
from tests.tuning.samples import new_trials, sqlite
from losstune.tuning.search.proposals import propose
from losstune.tuning.space.reader import load_space
print(json.dumps(propose(new_trials(load_space("infonce"), sqlite(Path(sys.argv[1]))), sys.argv[2], 0)))
"""


@learning
def test_a_new_process_with_other_hashes_and_threads_proposes_the_same(sampler: SamplerName, tmp_path: Path) -> None:
    trials = new_trials(load_space("infonce"), sqlite(tmp_path))
    train(trials, sampler, 16)
    command = [sys.executable, "-c", NEXT_IN_A_NEW_PROCESS, str(tmp_path), sampler]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == propose(trials, sampler, 0)


@learning
def test_trials_under_way_are_part_of_the_history(sampler: SamplerName) -> None:
    alone, beside = new_trials(space_of(CONTINUOUS)), new_trials(space_of(CONTINUOUS))
    train(alone, sampler, 12)
    train(beside, sampler, 12)
    alone.add({"lr": 0.001, "model.dropout": 0.1}, seed=0)
    beside.add({"lr": 0.05, "model.dropout": 0.8}, seed=0)
    assert propose(alone, sampler, 0) != propose(beside, sampler, 0)


@samplers
@pytest.mark.parametrize(("text", "size"), [(DISCRETE, 12), (SMALL, 32)], ids=["discrete", "conditional"])
def test_every_point_of_a_discrete_space_comes_once_and_then_none(text: str, size: int, sampler: SamplerName) -> None:
    space = space_of(text)
    assert space.size == size
    trials = new_trials(space)
    points = train(trials, sampler, size)
    assert sorted(map(str, points)) == sorted(map(str, every_point(space, points)))
    assert propose(trials, sampler, 0) is None


def every_point(space: SearchSpace, points: list[Point]) -> list[Point]:
    """The points of a space, each with its keys in the order in which it was proposed."""
    return [next(point for point in points if point == wanted) for wanted in space.points()]


@drawing
def test_a_space_of_one_point_is_used_up_after_it(sampler: SamplerName) -> None:
    trials = new_trials(space_of("loss_fn: mse"))
    assert train(trials, sampler, 1) == [{}]
    assert propose(trials, sampler, 0) is None


@drawing
def test_a_used_up_branch_does_not_end_a_continuous_space(sampler: SamplerName) -> None:
    trials = new_trials(space_of(MIXED))
    for _ in range(30):
        point = propose(trials, sampler, 0)
        assert point is not None
        number = trials.add(point, seed=0)
        trials.end(number, used_up(-point["model.depth"]))
    plain = [trial.point for trial in trials if trial.point["model.depth"] == 0]
    assert 1 <= len(plain) <= 5


@drawing
def test_a_range_of_one_value_is_used_up_after_it(sampler: SamplerName) -> None:
    trials = new_trials(space_of("loss_fn: mse\nspace: {lr: {low: 0.1, high: 0.1}, batch_size: {choices: [16, 32]}}"))
    train(trials, sampler, 2)
    assert propose(trials, sampler, 0) is None


def test_a_grid_goes_in_the_order_of_the_file_behind_its_start_points() -> None:
    space = space_of(SMALL)
    points = train(new_trials(space), "grid", 32)
    assert points[0] == space.start[0]
    assert points[1:] == [point for point in space.points() if point != space.start[0]]


def test_a_grid_goes_on_where_it_stopped(tmp_path: Path) -> None:
    space = space_of(DISCRETE)
    points = train(new_trials(space, sqlite(tmp_path)), "grid", 5)
    points += train(new_trials(space, sqlite(tmp_path)), "grid", 7)
    assert points == list(space.points())


@drawing
def test_stepped_values_are_those_of_the_space(sampler: SamplerName) -> None:
    text = "loss_fn: mse\nspace: {model.dropout: {low: 0.1, high: 0.9, step: 0.1}, lr: {low: 0.1, high: 1}}"
    values = {point["model.dropout"] for point in train(new_trials(space_of(text)), sampler, 30)}
    assert values <= {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}


@drawing
@hypothesis_settings(max_examples=10)
@given(seed=st.integers(0, 2**63 - 1))
def test_conditional_parameters_exist_exactly_where_they_are_active(sampler: SamplerName, seed: int) -> None:
    space = space_of(MIXED)
    for point in train(new_trials(space), sampler, 16, seed):
        assert set(point) == {parameter.name for parameter in space.parameters if parameter.active(point)}
        assert all(point[p.name] in p.domain for p in space.parameters if p.name in point)


def paraboloid(point: Point) -> float:
    """Highest at lr 1e-2 (in its exponent) and dropout 0.3."""
    return -((math.log10(point["lr"]) + 2) ** 2) - (4 * (point["model.dropout"] - 0.3)) ** 2


def values_of(sampler: SamplerName, seed: int) -> list[float]:
    trials = new_trials(space_of(CONTINUOUS))
    search(trials, lambda own: propose(own, sampler, seed), paraboloid)
    return [trial.rank_value for trial in trials]


@learning
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_exploits_what_it_has_seen(seed: int, sampler: SamplerName) -> None:
    by_chance = values_of("random", seed)
    learned = values_of(sampler, seed)[-20:]
    assert sum(learned) / 20 > sum(by_chance) / len(by_chance)
    assert sorted(learned)[10] > sorted(by_chance)[45]


def steps_into_divergence(ending: Ending) -> int:
    """How many of trials 21 to 40 go where every trial has ended like this: to an lr above 1e-2."""
    trials = new_trials(space_of(CONTINUOUS))
    for _ in range(40):
        point = propose(trials, "tpe", 0)
        assert point is not None
        number = trials.add(point, seed=0)
        trials.end(number, ending if point["lr"] > 1e-2 else used_up(-abs(point["model.dropout"] - 0.3)))
    return sum(trial.point["lr"] > 1e-2 for trial in list(trials)[20:])


def test_tpe_learns_from_divergence() -> None:
    assert steps_into_divergence(diverged(1)) < 10
    assert steps_into_divergence(diverged(1)) < steps_into_divergence(failed(1)) / 2
