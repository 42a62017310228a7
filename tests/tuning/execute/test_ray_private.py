"""Ray's private parts are still what is made of them; without starting Ray, whose launches are tested elsewhere."""

import ast
import inspect
import os
import signal
import subprocess
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import ray
from ray._private import services, utils
from ray._private.node import Node
from ray.experimental import internal_kv
from ray.job_config import JobConfig

from losstune.tuning.execute.ray_private import (
    NOT_NEEDED,
    ask_head,
    cluster_address,
    is_node,
    is_refusal,
    no_folder_in_front,
    only_what_trials_need,
    own_sigterm,
    processes_apart,
    tell_driver,
    told,
)
from tests.test_architecture import ROOT, sources


def private_imports(source: str) -> list[str]:
    """What is imported of Ray by a name that is private, or of its internal memory."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module)):
                found += [f"{module}.{alias.name}" for alias in node.names]
            case ast.Import():
                found += [alias.name for alias in node.names]
    return [name for name in found if name.partition(".")[0] == "ray" and "._" in name]


def test_private_parts_have_one_module() -> None:
    using = {path.relative_to(ROOT).as_posix() for path in sources() if private_imports(path.read_text())}
    assert using == {"tuning/execute/ray_private.py"}
    assert private_imports("from ray import _raylet\nimport ray.tune") == ["ray._raylet"]


# SIGTERM


@pytest.fixture
def handler() -> Iterator[Any]:
    """A launch's own handler of SIGTERM."""

    def own(signum: int, frame: FrameType | None) -> None:
        pass

    former = signal.signal(signal.SIGTERM, own)
    yield own
    signal.signal(signal.SIGTERM, former)


def rays_handler(signum: int, frame: FrameType | None) -> None:
    """In place of the one that ends the process."""


def test_ray_sets_its_handler_through_the_function_that_is_replaced(handler: Any) -> None:
    for place in (Node, ray._private.worker):
        assert "ray._private.utils.set_sigterm_handler(sigterm_handler)" in inspect.getsource(place)
    utils.set_sigterm_handler(rays_handler)
    assert signal.getsignal(signal.SIGTERM) is rays_handler


def test_ray_leaves_sigterm_to_the_launch(handler: Any) -> None:
    with own_sigterm():
        utils.set_sigterm_handler(rays_handler)
        assert signal.getsignal(signal.SIGTERM) is handler
        signal.signal(signal.SIGTERM, rays_handler)  # as Ray's part in C++ does, which asks nobody
    assert signal.getsignal(signal.SIGTERM) is handler
    utils.set_sigterm_handler(rays_handler)
    assert signal.getsignal(signal.SIGTERM) is rays_handler


# Processes


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """A process as Ray starts each of its own."""
    process: subprocess.Popen[bytes] = services.start_ray_process(command, "test", fate_share=False).process
    return process


def test_rays_processes_are_in_groups_of_their_own() -> None:
    processes = [started(["sleep", "60"])]
    with processes_apart():
        processes.append(started(["sleep", "60"]))
    groups = [os.getpgid(process.pid) for process in processes]
    for process in processes:
        assert process.poll() is None
        process.kill()
        process.wait()
    assert groups == [os.getpgid(0), processes[1].pid]
    assert issubclass(services.ConsolePopen, subprocess.Popen)


def test_rays_processes_end_where_its_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    processes: list[subprocess.Popen[bytes]] = []

    def fail() -> None:
        with processes_apart():
            processes.append(started(["sleep", "60"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [process.wait() for process in processes] == [-signal.SIGKILL]


def test_what_a_node_need_not_start_is_left_out_and_comes_back() -> None:
    originals = [getattr(Node, name) for name in NOT_NEEDED]
    node = object.__new__(Node)
    with only_what_trials_need():
        assert node.start_api_server(include_dashboard=False, raise_on_failure=False) is None
        assert node.start_log_monitor() is None
        assert node.start_monitor() is None
    assert [getattr(Node, name) for name in NOT_NEEDED] == originals


def test_a_node_starts_them_by_these_methods_and_asks_for_nothing_back() -> None:
    lines = [line.strip() for line in inspect.getsource(Node).splitlines()]
    for name in NOT_NEEDED:
        assert [line for line in lines if line.startswith(f"self.{name}(")], f"no node calls {name} by itself any more"
        assert not [line for line in lines if f"= self.{name}(" in line]


def test_what_a_node_need_not_start_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Node, "start_monitor")
    with only_what_trials_need():
        assert not hasattr(Node, "start_monitor")
    assert not hasattr(Node, "start_monitor")


def test_a_driver_hands_on_no_folder_where_a_job_is_said_to_have_its_own() -> None:
    source = inspect.getsource(ray._private.worker.connect)
    folders = source[source.index("code_paths = []") : source.index("_py_driver_sys_path.extend(code_paths)")]
    assert folders.count("code_paths.append") == folders.count("not job_config._runtime_env_has_working_dir()") == 2
    with no_folder_in_front():
        assert JobConfig()._runtime_env_has_working_dir()
    assert not JobConfig()._runtime_env_has_working_dir()


def test_rays_temporary_folder_can_be_chosen() -> None:
    assert 'kwargs.pop("_temp_dir", None)' in inspect.getsource(inspect.unwrap(ray.init))


# A cluster


def test_an_address_is_taken_as_it_is_or_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_address("10.0.0.7:6379") == "10.0.0.7:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.8:6379")
    assert cluster_address("auto") == "10.0.0.8:6379"
    with pytest.raises((ValueError, OSError)):
        cluster_address("head")


def test_no_address_is_no_head() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ask_head("nonsense")


def test_a_machine_is_a_node_where_a_raylet_runs() -> None:
    assert services._find_address_from_flag("--losstune-none") == set()
    name = f"losstune{os.getpid()}"
    raylet = subprocess.Popen(["raylet", "-c", "sleep 60; true", f"--node_id={name}"], executable="/bin/sh")
    try:
        assert name in services.find_node_ids()
        assert is_node()
    finally:
        raylet.kill()
        raylet.wait()


class Memory:
    """A cluster's own, of which Ray's functions make text to bytes."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def internal_kv_put(self, key: bytes, value: bytes, overwrite: bool, namespace: bytes | None) -> int:
        self.kept[key] = value
        return 1

    def internal_kv_get(self, key: bytes, namespace: bytes | None) -> bytes | None:
        return self.kept.get(key)

    def internal_kv_del(self, key: bytes, by_prefix: bool, namespace: bytes | None) -> int:
        assert not by_prefix
        del self.kept[key]
        return 1


def test_what_a_worker_leaves_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    monkeypatch.setattr(internal_kv, "global_gcs_client", memory)
    assert told("refused") == ""
    tell_driver("refused", "node 10.0.0.7: torch: …")
    tell_driver("refused", "node 10.0.0.8: torch: …")
    assert told("refused") == "node 10.0.0.8: torch: …"
    assert told("refused") == ""
    assert memory.kept == {}


# What ray.init raises


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (Exception("The current node timed out during startup."), True),
        (ConnectionError("no cluster"), True),
        (RuntimeError("Version mismatch"), True),
        (ValueError("object_store_memory"), True),
        (PermissionError(13, "Permission denied"), True),
        (TypeError("unexpected keyword argument"), False),
        (AttributeError("module 'ray' has no attribute"), False),
    ],
)
def test_what_ray_found_is_told_from_a_fault_of_ours(error: Exception, refusal: bool) -> None:
    assert is_refusal(error) is refusal


def test_a_node_that_does_not_start_in_time_is_still_a_bare_exception() -> None:
    (raised,) = [line for line in inspect.getsource(Node).split("raise ") if "timed out during startup" in line]
    assert raised.startswith("Exception(")
