"""Ray: started for one launch on loopback and stopped after it, or a cluster that is joined for as long."""

import importlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from losstune.tuning.execute.join import join
from losstune.tuning.storage.scratch import private_folder

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # undocumented: without it Ray listens on every interface
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # one for each core, of which a trial takes none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: silent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are the launch's
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Ray's own state is disposable
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # searchers know how many may wait: as many as there are slots
    "TUNE_WARN_THRESHOLD_S": "1000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""What Ray and Tune are told before they are imported."""

_NOT_NEEDED = ("start_api_server", "start_log_monitor", "start_monitor")

MIN_OBJECT_STORE = 256 * 1024 * 1024


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


@contextmanager
def ray_running(address: str | None, cores: int, data_bytes: int) -> Iterator[Path]:
    """Ray for the time of the block; yields a private folder for what Tune writes.

    Args:
        address: an existing cluster to join; None starts Ray on this machine, on loopback.
        cores: how many a Ray of our own has at least: more than there are makes trials share them.
        data_bytes: size of the data that workers share.

    Raises:
        UserError: there is no cluster at the address, or none that this process can join.
    """
    os.environ.update(ENVIRONMENT)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with private_folder() as folder, _tune_imported_meanwhile() as imported:
        try:
            _start(address, cores, data_bytes, folder)
            imported.wait()
            yield folder / "tune"
        finally:
            ray.shutdown()


@contextmanager
def _tune_imported_meanwhile() -> Iterator[threading.Event]:
    """Import Ray Tune while Ray starts; the event is set once it is there.

    Two threads that import parts of it at once meet in its circular imports, and a Python that ends in the midst of
    an import may crash: the block ends after the import.
    """
    imported = threading.Event()

    def import_tune() -> None:
        try:
            importlib.import_module("ray.tune")
        finally:
            imported.set()

    threading.Thread(target=import_tune, daemon=True).start()
    try:
        yield imported
    finally:
        imported.wait()


def _start(address: str | None, cores: int, data_bytes: int, folder: Path) -> None:
    import ray

    if address is not None:
        with _own_sigterm():
            join(address)
        return
    with _only_what_trials_need(), _own_sigterm(), _processes_apart():
        ray.init(
            address="local",
            num_cpus=max(usable_cores(), cores),
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
def _processes_apart() -> Iterator[None]:
    """Ray's processes that start in this block are each in a group of their own, and end where the block is left.

    ``timeout``, a shell and a batch system send SIGTERM to a whole group. A Ray that died of it makes the launch wait
    for it for half a minute, in place of saving what there is.
    """
    import ray
    from ray._private import services

    module: Any = services
    original, started = module.ConsolePopen, []

    def apart(*arguments: Any, **options: Any) -> Any:
        started.append(original(*arguments, process_group=0, **options))
        return started[-1]

    module.ConsolePopen = apart
    try:
        yield
    except BaseException:
        ray.shutdown()  # before: it may have to talk to them
        for process in started:
            process.kill()
        raise
    finally:
        module.ConsolePopen = original


@contextmanager
def _only_what_trials_need() -> Iterator[None]:
    """Ray started in this block has no process for its dashboard, for the logs of workers, or for growing by itself.

    Even without a dashboard Ray starts one for usage statistics, and even with those off it asks the metadata
    servers of three clouds where it runs. The two others have nothing to do here, and cost every launch a second and
    a half. No setting of Ray 2.60 prevents them. Where a later Ray has no such methods, nothing changes.
    """
    from ray._private.node import Node

    node: Any = Node
    originals = {name: getattr(node, name) for name in _NOT_NEEDED if hasattr(node, name)}
    for name in originals:
        setattr(node, name, lambda self, **_: None)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(node, name, original)
