"""Ray: started for one launch on loopback and stopped after it, or a cluster that is there already."""

import importlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.private_folder import private_folder

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # undocumented: without it Ray listens on every interface
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are the launch's
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Ray's own state is disposable
    "TUNE_WARN_THRESHOLD_S": "1000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""What Ray and Tune are told before they are imported."""

MIN_OBJECT_STORE = 256 * 1024 * 1024


@dataclass(frozen=True)
class Resources:
    """What a launch asks for; None is chosen by what is there."""

    concurrency: int | None
    cpus_per_trial: int
    gpus_per_trial: float | None


@dataclass(frozen=True)
class Slots:
    """How trials are placed: how many at a time, and each one's share of a machine."""

    concurrency: int
    cpus: int
    gpus: float


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


@contextmanager
def ray_running(address: str | None, resources: Resources, data_bytes: int) -> Iterator[Path]:
    """Ray for the time of the block; yields a private folder for what Tune writes.

    Args:
        address: an existing cluster to join; None starts Ray on this machine, on loopback.
        data_bytes: size of the data that workers share.
    """
    os.environ.update(ENVIRONMENT)
    import ray

    importing = threading.Thread(target=importlib.import_module, args=("ray.tune",), daemon=True)  # while Ray starts
    importing.start()
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with private_folder() as folder:
        try:
            _start(address, resources, data_bytes, folder)
            importing.join()  # two threads that import parts of ray.tune at once meet in its circular imports
            yield folder / "tune"
        finally:
            ray.shutdown()


def _start(address: str | None, resources: Resources, data_bytes: int, folder: Path) -> None:
    import ray

    if address is not None:
        with _own_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        return
    wanted = (resources.concurrency or 1) * resources.cpus_per_trial
    with _no_dashboard_process(), _own_sigterm():
        ray.init(
            address="local",
            num_cpus=max(usable_cores(), wanted),
            include_dashboard=False,
            object_store_memory=MIN_OBJECT_STORE + 2 * data_bytes,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(folder / "r"),  # Ray opens this one to all: the private one is around it
        )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray started in this block leaves SIGTERM to the launch; its own handlers would end the process on the spot."""
    from ray._private import utils

    module: Any = utils
    original, former = module.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    module.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        module.set_sigterm_handler = original
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, former)  # Ray's part in C++ has taken it too


@contextmanager
def _no_dashboard_process() -> Iterator[None]:
    """Ray started in this block has no process for its dashboard.

    Even without a dashboard Ray starts one for usage statistics, and even with those off it asks the metadata
    servers of three clouds where it runs. No setting of Ray 2.60 prevents it. Where a later Ray has no such
    method, nothing changes.
    """
    from ray._private.node import Node

    node: Any = Node
    original = getattr(node, "start_api_server", None)
    node.start_api_server = lambda self, **_: None
    try:
        yield
    finally:
        node.start_api_server = original


def slots(resources: Resources) -> Slots:
    """Place trials on the running Ray: all cores and GPUs unless told otherwise."""
    import ray

    total = ray.cluster_resources()
    gpus = total.get("GPU", 0.0)
    share = resources.gpus_per_trial if resources.gpus_per_trial is not None else min(1.0, gpus)
    by_cpu = max(1, int(total.get("CPU", 1) // resources.cpus_per_trial))
    by_gpu = int(gpus) * int(1 / share + 1e-9) if 0 < share < 1 else int(gpus // share) if share else by_cpu
    concurrency = resources.concurrency or min(by_cpu, max(1, by_gpu))
    return Slots(concurrency, resources.cpus_per_trial, spread_share(share, gpus, concurrency))


def spread_share(share: float, gpus: float, concurrency: int) -> float:
    """A trial's share of a GPU, raised where needed so that trials spread over all GPUs.

    Ray fills one GPU before it takes the next; a larger share leaves no room to pile up.
    """
    if share <= 0 or gpus <= 1 or share >= 1:
        return share
    per_gpu = -(-concurrency // int(gpus))
    return max(share, 1 / per_gpu)
