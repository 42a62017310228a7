"""How Ray is started, and what is left when it does not: with ``ray.init`` replaced."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants

from losstune.trainer.base.errors import UserError
from losstune.tuning.execute import ray_private
from losstune.tuning.execute.cores import usable_cores
from losstune.tuning.execute.local_ray import ENVIRONMENT, MIN_OBJECT_STORE, ray_running
from losstune.tuning.execute.ray_private import CONSTANTS


class Init:
    """What is asked of ``ray.init``; it raises ``error`` if there is one."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.environment: dict[str, str] = {}
        self.constants: dict[str, bool] = {}
        self.shut_down = 0
        self.error: Exception | None = None

    def __call__(self, **options: Any) -> None:
        self.asked, self.environment = options, dict(os.environ)
        self.constants = {name: getattr(ray_constants, name) for name in CONSTANTS}
        if self.error is not None:
            raise self.error

    def shutdown(self) -> None:
        self.shut_down += 1


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch) -> Iterator[Init]:
    init = Init()
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "as the user has it")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", init.shutdown)
    return init


def test_a_ray_of_our_own_is_local_quiet_and_in_a_private_folder(init: Init) -> None:
    with ray_running(None, cores=1, data_bytes=1000) as folder:
        temporary = Path(init.asked["_temp_dir"])
        assert temporary.parent == folder.parent
        assert folder.parent.stat().st_mode & 0o077 == 0
        assert (init.asked["address"], init.asked["include_dashboard"]) == ("local", False)
        assert init.asked["num_cpus"] == usable_cores()
        assert init.asked["object_store_memory"] == MIN_OBJECT_STORE + 2000
    assert init.shut_down == 1
    assert not folder.parent.exists()


def test_trials_may_share_cores(init: Init) -> None:
    with ray_running(None, cores=usable_cores() + 3, data_bytes=0):
        assert init.asked["num_cpus"] == usable_cores() + 3


def test_ray_is_told_before_it_starts_also_what_it_read_when_it_was_imported(init: Init) -> None:
    with ray_running(None, cores=1, data_bytes=0):
        assert os.environ.items() >= ENVIRONMENT.items()  # for the workers, which may start at any time
    assert init.environment.items() >= ENVIRONMENT.items()
    assert init.constants == CONSTANTS


@pytest.mark.parametrize("error", [None, Exception("The current node timed out during startup.")])
def test_afterwards_ray_is_the_users_again(
    init: Init, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """What else this process does with Ray and Tune has checkpoints, logs and a way to be interrupted."""
    monkeypatch.delenv("TUNE_GLOBAL_CHECKPOINT_S")
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(ray_constants, name, not value)
    logger, environment = logging.getLogger("ray"), dict(os.environ)
    level, init.error = logger.level, error
    with pytest.raises(UserError) if error else nullcontext(), ray_running(None, cores=1, data_bytes=0):
        assert logger.level == logging.CRITICAL
    assert dict(os.environ) == environment
    assert {name: getattr(ray_constants, name) for name in CONSTANTS} != CONSTANTS
    assert logger.level == level != logging.CRITICAL


def test_a_ray_that_does_not_start_in_time_is_one_error_and_leaves_nothing(init: Init) -> None:
    init.error = Exception("The current node timed out during startup. This could\nhappen because")
    with pytest.raises(UserError) as failed, ray_running(None, cores=1, data_bytes=0):
        pass
    assert str(failed.value) == (
        "Ray did not start on this machine: The current node timed out during startup. This could happen because; "
        "if the machine is busy, give the same command again when it is less so"
    )
    assert init.shut_down >= 1
    assert not Path(init.asked["_temp_dir"]).parent.exists()


def test_a_fault_of_ours_at_the_start_is_no_error_of_the_users(init: Init) -> None:
    init.error = TypeError("init() got an unexpected keyword argument")
    with pytest.raises(TypeError), ray_running(None, cores=1, data_bytes=0):
        pass
    assert init.shut_down >= 1


def test_a_cluster_is_joined_with_nothing_of_our_own_started(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []
    monkeypatch.setattr("losstune.tuning.execute.local_ray.join", joined.append)
    with ray_running("10.0.0.7:6379", cores=1, data_bytes=0):
        assert joined == ["10.0.0.7:6379"]
    assert (init.asked, init.shut_down) == ({}, 1)


def test_a_ray_of_our_own_has_no_agents_and_a_cluster_keeps_its_own(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[Any] = []

    def three(cpus: float, gpus: float) -> int:
        return 3

    @contextmanager
    def without_agents(workers: Any) -> Iterator[None]:
        entered.append(workers)
        yield

    monkeypatch.setattr(ray_private, "raylet_without_agents", without_agents)
    monkeypatch.setattr("losstune.tuning.execute.local_ray.join", lambda address: None)
    with ray_running("10.0.0.7:6379", cores=1, data_bytes=0, workers=three):
        assert entered == []
    with ray_running(None, cores=1, data_bytes=0, workers=three):
        assert entered == [three]
