"""All that is used of Ray's private parts, because nothing public does it; written against Ray 2.60.

``tests/tuning/execute/test_ray_private.py`` fails where a later Ray has one of them otherwise. It loads Ray, so whoever
needs it imports it late.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import ray
from ray import _raylet
from ray._private import ray_constants, services, utils
from ray._private.node import Node
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.job_config import JobConfig

_CONSTANTS: Any = ray_constants
_SERVICES: Any = services
_UTILS: Any = utils
_NODE: Any = Node
_RAYLET: Any = _raylet
_JOB_CONFIG: Any = JobConfig

CONSTANTS = {"ENABLE_RAY_CLUSTER": False, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": True}
"""What Ray reads from the environment at its import alone: servers on loopback, and SIGTERM left to the launch."""

NOT_NEEDED = ("start_api_server", "start_log_monitor", "start_monitor")
"""Methods of a node, each of which starts a process that a launch has no use for."""

AGENTS = {
    "dashboard_agent_command": (
        _RAYLET.METRICS_AGENT_PORT_NAME,
        _RAYLET.METRICS_EXPORT_PORT_NAME,
        _RAYLET.DASHBOARD_AGENT_LISTEN_PORT_NAME,
    ),
    "runtime_env_agent_command": (_RAYLET.RUNTIME_ENV_AGENT_PORT_NAME,),
}
"""Options of a raylet with the commands of two more, and the ports that it waits for each of them to tell."""
NOT_IN_USE = -1
"""Such a port, as Ray's own agent tells it where the dashboard is not installed."""
SLEEPER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while os.getppid() == int(os.environ["RAY_RAYLET_PID"]):
    time.sleep(0.5)
"""
"""What runs in place of an agent, and ends with its raylet.

A raylet one of whose agents ends takes the driver with it, on the spot, so this is deaf to a SIGTERM to all processes:
the launch then ends as it does after any signal.
"""
PRESTARTED = "num_prestart_python_workers"
"""The option with the number of workers that a raylet starts before any is asked for."""


@contextmanager
def own_constants() -> Iterator[None]:
    """Ray that is started or joined in this block has :data:`CONSTANTS`, whatever its import found.

    The environment comes too late for that where a program, or the module of its data, has imported Ray for itself.
    """
    former = {name: getattr(_CONSTANTS, name) for name in CONSTANTS}
    vars(_CONSTANTS).update(CONSTANTS)
    try:
        yield
    finally:
        vars(_CONSTANTS).update(former)


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Ray started in this block leaves SIGTERM to the launch.

    ``ray.init`` sets a handler of its own that ends the process on the spot, and has no option against it; its part
    in C++ sets another, so the former one is put back afterwards.
    """
    original, former = _UTILS.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    _UTILS.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        _UTILS.set_sigterm_handler = original
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, former)


@contextmanager
def processes_apart() -> Iterator[None]:
    """Ray's processes that start in this block are each in a group of their own, and end where the block fails.

    ``timeout``, a shell and a batch system send SIGTERM to a whole group. A Ray that died of it makes the launch wait
    for it for half a minute, in place of saving what there is. ``ray.init`` starts its processes in the caller's group,
    and where it fails it leaves those that it has started.
    """
    original = _SERVICES.ConsolePopen
    started: list[subprocess.Popen[bytes]] = []

    def apart(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(original(*arguments, process_group=0, **options))
        return started[-1]

    _SERVICES.ConsolePopen = apart
    try:
        yield
    except BaseException:
        ray.shutdown()  # before they are killed: it may have to talk to them
        for process in started:
            process.kill()
        raise
    finally:
        _SERVICES.ConsolePopen = original


@contextmanager
def only_what_trials_need() -> Iterator[None]:
    """Ray started in this block has no process for its dashboard, for the logs of workers, or for growing by itself.

    Even without a dashboard Ray starts one for usage statistics, and even with those off it asks the metadata
    servers of three clouds where it runs. The two others have nothing to do here, and cost every launch a second and
    a half. No setting of Ray prevents them. Where a later Ray has no such methods, nothing changes.
    """
    with ExitStack() as restored:
        for name in NOT_NEEDED:
            if hasattr(_NODE, name):
                restored.callback(setattr, _NODE, name, getattr(_NODE, name))
                setattr(_NODE, name, lambda self, **_: None)
        yield


@contextmanager
def raylet_without_agents(workers: Callable[[float, float], int]) -> Iterator[None]:
    """A raylet started in this block has no agents, and starts workers of its own accord once a driver connects.

    One agent is for the dashboard and its metrics, the other prepares environments, which :func:`same_environment`
    keeps trials from asking for. The raylet waits until both have loaded half of Ray: with them a launch starts a
    second later. It does not start without their commands, so each is a process that sleeps, and the ports which they
    would tell of are said to be not in use, as Ray's own agent does where its dashboard is not installed.

    Args:
        workers: how many, for the CPUs and GPUs that Ray found here; left to itself it starts one for each CPU.
    """
    original = _SERVICES.start_ray_process

    def start(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            command = _without_agents(command, workers)
        return original(command, process_type, *arguments, **options)

    _SERVICES.start_ray_process = start
    try:
        yield
    finally:
        _SERVICES.start_ray_process = original


def _without_agents(command: list[str], workers: Callable[[float, float], int]) -> list[str]:
    given = dict(word.removeprefix("--").split("=", 1) for word in command if "=" in word)
    for port in chain(*AGENTS.values()):
        _RAYLET.persist_port(given["session_dir"], given["node_id"], port, NOT_IN_USE)
    found = given["static_resource_list"].split(",")  # as CPU,2,GPU,1
    has = dict(zip(found[::2], map(float, found[1::2]), strict=True))
    sleeper = subprocess.list2cmdline([sys.executable, "-I", "-S", "-c", SLEEPER])
    changed = dict.fromkeys(AGENTS, sleeper) | {PRESTARTED: str(workers(has.get("CPU", 0.0), has.get("GPU", 0.0)))}
    kept = [word for word in command if word.removeprefix("--").partition("=")[0] not in changed]
    return [*kept, *(f"--{name}={value}" for name, value in changed.items())]


@contextmanager
def same_environment() -> Iterator[None]:
    """Trials that Tune starts in this block ask for no environment of their own.

    Tune hands some variables to its actors, and Ray prepares an environment for them: that takes an agent, a process
    more for each worker before it becomes one, and no worker that is there already is good for it. Where the launch has
    started Ray, its workers have all variables that it has.
    """
    from ray.tune.execution import class_cache

    former = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = former


@contextmanager
def no_folder_in_front() -> Iterator[None]:
    """A driver that connects in this block hands no folder of its own to the ``sys.path`` of its workers.

    Ray puts the working folder and that of the script in front of all else there, before a worker has loaded anything
    of ours: a user's ``queue.py`` or a clone of losstune would be found in place of what the driver uses. It does not
    where a job brings a working folder of its own, and has no setting that says only that. Workers get the folders
    with their work, and search them as the driver does.
    """
    original = _JOB_CONFIG._runtime_env_has_working_dir
    _JOB_CONFIG._runtime_env_has_working_dir = lambda self: True
    try:
        yield
    finally:
        _JOB_CONFIG._runtime_env_has_working_dir = original


def forget_ended(controller: Any) -> None:
    """Have Tune's controller keep nothing of the trials that have ended, but of one.

    It keeps every trial, with its setting, its last result and its state as JSON, 50 KiB each, for tables that are not
    asked for; and saves and looks through them all at the end. Of none at all it would look for some on disk.
    """
    ended = (controller._stopped_trials | controller._failed_trials) - controller._trial_to_actor.keys()
    ended -= {max(ended, key=controller._trials.index, default=None)}
    if not ended:
        return
    controller._trials[:] = [trial for trial in controller._trials if trial not in ended]
    for trials in (controller._stopped_trials, controller._failed_trials, controller._trials_to_cache):
        trials -= ended
    for trial in ended:
        controller._trial_metadata.pop(trial.trial_id, None)


def read_tokens_anew() -> None:
    """Have Ray read the environment's token, and whether it asks for one; it keeps both for all of a process.

    In this order: a thread of a Ray that has just been stopped may still look, and a process that is to show a token
    and has none crashes.
    """
    _RAYLET.Config.initialize("")
    _RAYLET.AuthenticationTokenLoader.instance().reset_cache()


def is_refusal(error: Exception) -> bool:
    """Whether ``ray.init`` could not start or join, for what it found and through no fault of its caller.

    Where a node is not up within half a minute, as on a busy machine, it raises a bare ``Exception``.
    """
    return type(error) is Exception or isinstance(error, OSError | RuntimeError | ValueError)


def cluster_address(address: str) -> str:
    """``HOST:PORT`` of a cluster's head, for ``auto`` from the environment or from what runs on this machine.

    ``ray.init`` finds it likewise and tells nobody, and where nothing answers there it tries for minutes: so it has
    to be known, and asked, before.

    Raises:
        ConnectionError: nothing runs here, or several clusters do.
        ValueError, OSError: it is no such address.
    """
    return str(_SERVICES.canonicalize_bootstrap_address_or_die(address))


def ask_head(address: str) -> None:
    """Return once the head of a cluster has answered at an address; where none is, that may take minutes.

    Raises:
        Exception: what is there is no head; Ray says so in several ways.
    """
    _RAYLET.GcsClient(address=address)


def is_node() -> bool:
    """Whether this machine is a node of a cluster: where it is none, ``ray.init`` waits for it for half a minute."""
    return bool(_SERVICES.find_node_ids())


def tell_driver(key: str, text: str) -> None:
    """Leave a text for whoever asks for the key, in the cluster's own memory.

    A worker has no other way to its driver before it has begun: an actor for messages would be one more thing to place,
    and the text must stay when the worker dies.
    """
    _internal_kv_put(key, text)


def told(key: str) -> str:
    """The text that was left under a key, which is then empty; "" where none was."""
    if not (text := _internal_kv_get(key)):
        return ""
    _internal_kv_del(key)
    return text.decode()
