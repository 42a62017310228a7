"""Ray's private parts are still what is made of them; without starting Ray, whose launches are tested elsewhere."""

import ast
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
import ray
from ray import _raylet
from ray._private import ray_constants, services, utils
from ray._private.node import Node
from ray.experimental import internal_kv
from ray.job_config import JobConfig
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController

from losstune.tuning.execute.local_ray import ENVIRONMENT
from losstune.tuning.execute.ray_private import (
    AGENTS,
    CONSTANTS,
    NOT_IN_USE,
    NOT_NEEDED,
    PRESTARTED,
    SLEEPER,
    ask_head,
    cluster_address,
    forget_ended,
    is_node,
    is_refusal,
    no_folder_in_front,
    only_what_trials_need,
    own_constants,
    own_sigterm,
    processes_apart,
    raylet_without_agents,
    same_environment,
    tell_driver,
    told,
)
from tests.test_architecture import ROOT, sources

MAIN = "_private/runtime_env/agent/main.py"


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


# What Ray reads when it is imported


def test_a_ray_that_was_imported_before_is_on_loopback_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "node_ip_address_from_perspective", lambda address: "10.0.0.9")
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(ray_constants, name, not value)
    with own_constants():
        assert services.get_node_ip_address() == services.get_localhost_ip()
        assert {name: getattr(ray_constants, name) for name in CONSTANTS} == CONSTANTS
    assert services.get_node_ip_address() == "10.0.0.9"
    assert {name: getattr(ray_constants, name) for name in CONSTANTS} == {n: not v for n, v in CONSTANTS.items()}


def test_nothing_else_that_ray_is_told_is_read_at_its_import() -> None:
    source = inspect.getsource(ray_constants)
    told = {name for name in ENVIRONMENT if f'"{name}"' in source}
    assert told == {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"}
    for name in CONSTANTS:
        assert re.search(rf"^{name} = env_bool\($", source, re.MULTILINE)


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


NODE = "0f" * 28
RAYLET = [
    "raylet",
    "--static_resource_list=CPU,4.0,node:127.0.0.1,1.0,GPU,2",
    "--num_prestart_python_workers=4",
    "--dashboard_agent_command=python agent.py --session-name=x",
    "--runtime_env_agent_command=python main.py",
    "--head",
    "--node-name=a=b",
]


def test_a_raylet_starts_as_many_workers_as_it_is_told_and_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    found: list[tuple[float, float]] = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, process_type, **_: commands.append(command))

    def workers(cpus: float, gpus: float) -> int:
        found.append((cpus, gpus))
        return 3

    command = [*RAYLET, f"--session_dir={tmp_path}", f"--node_id={NODE}"]
    with raylet_without_agents(workers):
        services.start_ray_process(command, "raylet", fate_share=False)
        services.start_ray_process(command, "gcs_server", fate_share=False)
    services.start_ray_process(command, "raylet", fate_share=False)
    assert found == [(4.0, 2.0)]
    assert commands[1:] == [command, command]
    changed = [word for word in commands[0] if word not in command]
    assert set(command) - set(commands[0]) == set(RAYLET[2:5])
    assert [word.partition("=")[0] for word in changed] == [*(f"--{name}" for name in AGENTS), f"--{PRESTARTED}"]
    assert changed[-1].endswith("=3")
    ports = {path.name.removesuffix(f"_{NODE}"): path.read_text() for path in tmp_path.iterdir()}
    assert ports == dict.fromkeys(chain(*AGENTS.values()), str(NOT_IN_USE))


def test_a_raylet_is_started_by_these_options_and_that_function() -> None:
    source = inspect.getsource(services.start_raylet)
    for option in (*AGENTS, PRESTARTED):
        assert source.count(f'"--{option}={{}}"') == 1
    for option in ("session_dir", "node_id", "static_resource_list"):
        assert source.count(f'f"--{option}=') == 1
    assert "start_ray_process(\n        command,\n        ray_constants.PROCESS_TYPE_RAYLET" in source


def test_rays_agents_tell_of_these_ports_and_minus_one_is_not_in_use() -> None:
    agents = Path(ray.__file__).parent
    dashboard = (agents / "dashboard/agent.py").read_text()
    metrics = (agents / "dashboard/modules/reporter/reporter_agent.py").read_text()
    assert "# Write -1 to indicate the service is not in use." in dashboard
    told_of = {
        *re.findall(r"persist_port\(\s+\S+\s+\S+\s+(\w+_PORT_NAME)", dashboard + metrics),
        *re.findall(r"persist_port\(\s+\S+\s+\S+\s+(\w+_PORT_NAME)", (agents / MAIN).read_text()),
    }
    assert {getattr(_raylet, name) for name in told_of} == {*chain(*AGENTS.values())}


def ignored(pid: int) -> set[int]:
    """Signals that a process ignores."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    mask = int(fields["SigIgn"], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_what_stands_in_for_an_agent_ends_with_its_raylet() -> None:
    program = [sys.executable, "-I", "-S", "-c", SLEEPER]
    raylet = subprocess.Popen(
        ["/bin/sh", "-c", 'RAY_RAYLET_PID=$$ "$@" & echo $!; read line', "sh", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert raylet.stdout is not None
    sleeper = psutil.Process(int(raylet.stdout.readline()))
    while signal.SIGTERM not in ignored(sleeper.pid):
        assert sleeper.is_running()
    sleeper.terminate()
    assert sleeper.is_running()
    raylet.kill()
    raylet.wait()
    psutil.wait_procs([sleeper], timeout=30)
    assert not sleeper.is_running()


def test_a_worker_loads_first_what_rays_environment_names() -> None:
    folder = Path(ray.__file__).parent
    assert b"preload_python_modules" in (folder / "core/src/ray/raylet/raylet").read_bytes()
    worker = (folder / "_private/workers/default_worker.py").read_text()
    assert worker.index("try_import_each_module(module_names_to_import)") < worker.index("worker.main_loop()")


def test_tunes_actors_ask_for_an_environment_except_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ray, "remote", lambda runtime_env: asked.append(runtime_env) or (lambda cls: cls))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    with same_environment():
        class_cache._ActorClassCache().get(object)
    class_cache._ActorClassCache().get(object)
    assert asked[0] == {"env_vars": {}}
    assert asked[1]["env_vars"].items() >= {"AWS_SESSION_TOKEN": "secret", "PL_DISABLE_FORK": "1"}.items()


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


# What Tune keeps


class Ended:
    """A trial of Tune's."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def test_tune_keeps_one_of_the_trials_that_ended_and_all_others() -> None:
    first, failed, last, held, running = trials = [Ended(name) for name in ("first", "failed", "last", "held", "new")]
    controller: Any = object.__new__(TuneController)
    controller._trials = listed = list(trials)
    controller._stopped_trials, controller._failed_trials = {first, last, held}, {failed}
    controller._trial_to_actor = {held: "an actor that has not stopped", running: "another"}
    controller._trials_to_cache = set(trials)
    controller._trial_metadata = {trial.trial_id: "{}" for trial in trials}
    forget_ended(controller)
    assert controller._trials == [last, held, running]
    assert listed is controller._trials  # Tune has handed this list out
    assert (controller._stopped_trials, controller._failed_trials) == ({last, held}, set())
    assert controller._trials_to_cache == {last, held, running}
    assert set(controller._trial_metadata) == {"last", "held", "new"}
    forget_ended(controller)
    assert len(controller._trials) == 3


def test_tunes_controller_keeps_trials_by_these_names() -> None:
    source = inspect.getsource(TuneController)
    for name in ("_stopped_trials", "_failed_trials", "_trials_to_cache"):
        assert f"self.{name}: Set[Trial] = set()" in source
    assert "self._trials: List[Trial] = []" in source
    assert "self._trial_to_actor: Dict[Trial, TrackedActor] = {}" in source
    assert "self._trial_metadata[trial.trial_id] = trial.get_json_state()" in source
    assert "Trial.TERMINATED: self._stopped_trials" in source
    assert "Trial.ERROR: self._failed_trials" in source


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
