"""Where trials run: room on machines, slots that follow them, shares of GPUs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.base.errors import UserError
from losstune.tuning.execute.placement import (
    REFRESH_SECONDS,
    Machine,
    Resources,
    default_share,
    rooms,
    slots,
    spread_share,
    workers_at_start,
)


@pytest.mark.parametrize(
    ("share", "gpus", "concurrency", "spread"),
    [
        (0.25, 2, 2, 1.0),
        (0.25, 2, 4, 0.5),
        (0.25, 2, 3, 0.5),
        (0.25, 2, 8, 0.25),
        (0.1, 4, 1, 1.0),
        (0.25, 1, 2, 0.25),
        (0.0, 2, 2, 0.0),
        (1.0, 4, 2, 1.0),
        (2.0, 4, 2, 2.0),
        (0.5, 0, 2, 0.5),
    ],
)
def test_a_share_grows_until_trials_spread_over_all_gpus(
    share: float, gpus: float, concurrency: int, spread: float
) -> None:
    assert spread_share(share, gpus, concurrency) == pytest.approx(spread)


@given(st.integers(2, 8), st.integers(1, 10), st.integers(1, 80))
def test_all_trials_fit_and_no_gpu_has_more_than_its_part(gpus: int, per_gpu: int, concurrency: int) -> None:
    concurrency = min(concurrency, gpus * per_gpu)
    share = spread_share(1 / per_gpu, gpus, concurrency)
    fits = int(1 / share + 1e-9)
    assert 1 / per_gpu <= share <= 1
    assert fits * gpus >= concurrency
    assert fits == math.ceil(concurrency / gpus)


MACHINES = [Machine("a", "10.0.0.1", 3, 0), Machine("b", "10.0.0.2", 3, 2), Machine("c", "10.0.0.3", 16, 2)]


@pytest.mark.parametrize(
    ("cpus", "gpus", "room"),
    [
        (1, 0.0, [3, 3, 16]),
        (2, 0.0, [1, 1, 8]),  # a trial is on one machine: the odd cores of two do not add up
        (1, 0.5, [0, 3, 4]),
        (1, 1 / 3, [0, 3, 6]),
        (2, 0.25, [0, 1, 8]),
        (1, 1.0, [0, 2, 2]),
        (1, 2.0, [0, 1, 1]),
        (4, 1.0, [0, 0, 2]),
    ],
)
def test_room_is_counted_machine_by_machine(cpus: int, gpus: float, room: list[int]) -> None:
    assert [machine.room(cpus, gpus) for machine in MACHINES] == room
    assert rooms(MACHINES, cpus, gpus) == sum(room)


def wish(concurrency: int | None = None, cpus: int = 1) -> Resources:
    return Resources(concurrency, cpus, None)


def test_slots_follow_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("losstune.tuning.execute.placement.time.monotonic", lambda: now[0])
    there = MACHINES[:1]
    place = slots(wish(), 0.0, lambda: there, grows=True)
    assert place.concurrency() == 3
    there = MACHINES[:2]
    assert place.concurrency() == 3, "a count holds for a while"
    now[0] += REFRESH_SECONDS
    assert place.concurrency() == 6
    there, now[0] = [], now[0] + REFRESH_SECONDS
    assert place.concurrency() == 1, "one waits for a machine to come"


def test_a_given_number_of_slots_does_not_follow() -> None:
    there = MACHINES[:1]
    place = slots(wish(concurrency=2), 0.0, lambda: there, grows=True)
    there = MACHINES
    assert place.concurrency() == 2


def test_a_share_is_not_raised_where_that_would_cost_a_slot() -> None:
    """Six fit: two on the machine with two cores, four on the other; thirds of a GPU would leave one out."""
    uneven = [Machine("a", "10.0.0.1", 2, 1), Machine("b", "10.0.0.2", 14, 1)]
    place = slots(wish(), 0.25, lambda: uneven, grows=False)
    assert (place.gpus, place.concurrency()) == (0.25, 6)


@pytest.mark.parametrize(
    ("machines", "cpus", "gpus", "grows", "has"),
    [
        (MACHINES, 32, 0.0, False, "it takes 32 CPUs and 0 GPUs {options}, and the largest machine has 16 and 2"),
        (MACHINES[:1], 1, 1.0, False, "it takes 1 CPUs and 1 GPUs {options}, and the largest machine has 3 and 0"),
        (
            [],
            1,
            0.0,
            True,
            "it takes 1 CPUs and 0 GPUs {options}, and there is no machine; "
            "a cluster that grows when trials wait needs --concurrency",
        ),
    ],
)
def test_a_trial_that_fits_nowhere_is_refused(
    machines: list[Machine], cpus: int, gpus: float, grows: bool, has: str
) -> None:
    with pytest.raises(UserError) as refused:
        slots(wish(cpus=cpus), gpus, lambda: machines, grows=grows)
    options = "(--cpus-per-trial, --gpus-per-trial)"
    assert str(refused.value) == "no room for a trial: " + has.format(options=options)


def test_a_cluster_that_grows_may_begin_with_nothing() -> None:
    assert slots(wish(concurrency=8), 1.0, list, grows=True).concurrency() == 8


def test_a_trial_has_a_gpu_where_there_is_one() -> None:
    assert default_share(MACHINES) == 1.0
    assert default_share(MACHINES[:1]) == 0.0
    assert default_share([]) == 0.0


@pytest.mark.parametrize(
    ("wish", "tasks", "cpus", "gpus", "workers"),
    [
        (Resources(None, 1, None), 100, 16, 0, 16),
        (Resources(None, 4, None), 100, 16, 0, 4),
        (Resources(3, 1, None), 100, 16, 0, 3),
        (Resources(None, 1, None), 2, 16, 0, 2),  # no worker that may never train
        (Resources(None, 1, None), 100, 16, 2, 2),
        (Resources(None, 1, 0.25), 100, 16, 2, 8),
        (Resources(None, 1, 0.0), 100, 16, 2, 16),
        (Resources(20, 1, None), 100, 16, 0, 16),
        (Resources(None, 1, "auto"), 100, 16, 0, 16),
        (Resources(None, 1, "auto"), 100, 16, 2, 0),  # the probe comes first
        (Resources(4, 1, "auto"), 100, 16, 2, 0),
    ],
)
def test_so_many_workers_start_with_ray_as_are_sure_to_train(
    wish: Resources, tasks: int, cpus: float, gpus: float, workers: int
) -> None:
    assert workers_at_start(wish, tasks, cpus, gpus) == workers
