"""``--gpus-per-trial auto``: which machines are probed, with which settings, and what is made of the answers."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.users_modules import drivers_folders
from losstune.tuning.execute.gpu_probe import Probed, Settings
from losstune.tuning.execute.gpu_share import largest_point, probed_share, probing_machines
from losstune.tuning.execute.placement import Machine
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, create_study
from tests.tuning.samples import settings_of, space_of

GIB = 2**30
H100, T4 = Machine("c" * 56, "10.0.0.3", 32, 4, "H100"), Machine("d" * 56, "10.0.0.4", 8, 1, "T4")


def test_the_probe_runs_on_one_machine_of_each_kind_the_one_with_the_fewest_cores_a_gpu() -> None:
    machines = [
        Machine("a", "10.0.0.1", 16, 0),
        Machine("b", "10.0.0.2", 64, 4, "H100"),
        Machine("c", "10.0.0.3", 32, 4, "H100"),
        Machine("d", "10.0.0.4", 8, 1, "T4"),
    ]
    assert [machine.node for machine in probing_machines(machines)] == ["c", "d"]


def test_the_largest_setting_is_the_largest_batch_and_model() -> None:
    space = space_of("""
        loss_fn: infonce
        start: [{lr: 1.0e-3, batch_size: 32, model.depth: 1, model.residual: false, schedule: constant}]
        space:
          lr: {low: 1.0e-4, high: 1.0e-1, log: true}
          batch_size: {choices: [32, 256, 64]}
          model.depth: {low: 1, high: 4, int: true}
          model.residual: {choices: [true, false]}
          schedule: {choices: [constant, cosine]}
    """)
    largest = {"lr": 1e-3, "batch_size": 256, "model.depth": 4, "model.residual": False, "schedule": "constant"}
    assert largest_point(space) == largest


class Cluster:
    """Answers a probe on a machine at once: Ray's functions, as far as they are asked."""

    def __init__(self, patch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.asked: dict[str, tuple[Any, ...]] = {}
        self._answers = answers
        patch.setattr(ray, "remote", lambda **_: lambda function: self)
        patch.setattr(ray, "wait", lambda waiting, **_: (waiting, []))
        patch.setattr(ray, "get", self._get)

    def options(self, scheduling_strategy: Any) -> Any:
        node = scheduling_strategy.node_id

        def remote(*arguments: Any) -> str:
            self.asked[node[0]] = arguments
            return str(node)

        return SimpleNamespace(remote=remote)

    def _get(self, task: str) -> Any:
        answer = self._answers[task[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def probed(gpu: str, **speeds: float) -> Probed:
    found = {int(count.removeprefix("at_")): speed for count, speed in speeds.items()}
    return Probed(gpu, 80 * GIB, 2 * GIB, 16, found)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    spaces = [
        space_of("loss_fn: mse\nspace: {batch_size: {choices: [16, 64]}}"),
        space_of("loss_fn: infonce\nspace: {batch_size: {choices: [32, 128]}}"),
    ]
    return create_study(Home(tmp_path), "study", spaces, settings_of(max_epochs=9, seed=5), "digits", "0" * 64)


def share(study: Study, *machines: Machine, cpus: int = 2, stop: Callable[[], bool] = lambda: False) -> Any:
    said = io.StringIO()
    found = probed_share(study, "data", cpus, machines, Console(file=said, width=300), stop)
    return found, said.getvalue()


def test_a_machine_without_a_gpu_trains_on_cpus(study: Study) -> None:
    assert share(study, Machine("a", "10.0.0.1", 16, 0)) == (0.0, "No GPU here: trials train on CPUs\n")


def test_each_kind_is_asked_for_the_largest_of_each_loss_and_the_typical_one(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch, c=probed("H100", at_1=100.0), d=probed("T4", at_1=50.0))
    share(study, H100, T4, Machine("a", "10.0.0.1", 16, 0))
    assert set(cluster.asked) == {"c", "d"}
    largest, typical, data, most, folders = cluster.asked["c"]
    assert [(settings["loss_fn"], settings["batch_size"]) for settings in largest] == [("mse", 64), ("infonce", 128)]
    managed: Settings = {"num_epochs": 9, "split_seed": 5, "device": "cuda", "threads": 2, "data": "digits"}
    for settings in (*largest, typical):
        assert settings.items() >= managed.items()
    assert (typical["loss_fn"], data, folders) == ("mse", "data", drivers_folders())
    assert most == 32 / 4 // 2, "as many as there are cores for"
    assert cluster.asked["d"][3] == 4


def test_the_share_is_what_the_gpu_that_takes_the_fewest_has_room_for(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cluster(monkeypatch, c=probed("H100", at_1=100.0, at_2=190.0, at_4=360.0), d=probed("T4", at_1=50.0, at_2=90.0))
    found, said = share(study, H100, T4)
    assert found == 0.5
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "Trying how many trials fit a GPU ...", "4 trials share a GPU (H100)", "2 trials share a GPU (T4)",
    ]  # fmt: skip


def test_after_a_signal_nothing_is_waited_for(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, c=AssertionError("asked"))
    assert share(study, H100, stop=lambda: True)[0] == 1.0


def test_a_probe_that_found_something_wrong_says_where(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = UserError("--gpus-per-trial auto: torch sees no GPU here; install torch for CUDA, or give a number")
    Cluster(monkeypatch, c=ray.exceptions.RayTaskError("probe_gpu", "traceback", wrong))
    with pytest.raises(UserError) as failed:
        share(study, H100)
    assert str(failed.value) == f"node 10.0.0.3 (cccccccc): {wrong}"


def test_a_probe_whose_process_died_is_one_message(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, c=ray.exceptions.WorkerCrashedError())
    with pytest.raises(UserError) as failed:
        share(study, H100)
    assert str(failed.value).startswith("node 10.0.0.3 (cccccccc): --gpus-per-trial auto: the probe failed: ")
    assert str(failed.value).endswith("; give a number")
