"""Ray: started for one launch on loopback and stopped after it, or a cluster that is joined for as long."""

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from losstune.trainer.base.errors import UserError, one_line
from losstune.tuning.execute.cores import usable_cores
from losstune.tuning.execute.join import join
from losstune.tuning.storage.scratch import private_folder

ENVIRONMENT = {
    # Nothing documents it. Without it Ray's servers listen on every interface of a Linux machine. This is for the
    # processes that Ray starts: in this one it has been imported by now, and ray_private tells it.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Nothing reaches the network on its own.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's part in C++ would take SIGTERM from its start on, print where it was, and abort where two threads get one.
    # In this process ray_private tells it too.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
    # Ray starts workers before it knows of any trial, and they load then what a trial needs.
    "RAY_preload_python_modules": "losstune.tuning.execute.preload",
    # Trials read data and the user's code by paths relative to where the launch was started.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Only Tune's older display falls silent with verbose=0, and the terminal is our own display's.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray warns at every worker without a GPU unless it is told who hides the GPUs there; our worker does.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune would write each result to a JSON, a CSV and a TensorBoard file; a trial's history is all of that.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would take the first SIGINT for itself, and signals are the launch's.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune expects a metric by name in each result, and ours hold one report.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Tune saves its state every ten seconds or so, and that state is disposable: once in thirty years will do.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # Tune would let one trial wait for a worker at a time, and throw that away when another's comes free; how many may
    # wait is the searcher's to say, which hands out as many as there are slots.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    # A trial's exception is kept with the trial; Tune would print it into the display.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""What Ray and Tune are told for as long as a launch has them; its workers inherit it."""

MIN_OBJECT_STORE = 256 * 1024 * 1024


@contextmanager
def ray_running(
    address: str | None, cores: int, data_bytes: int, workers: Callable[[float, float], int] = lambda cpus, gpus: 0
) -> Iterator[Path]:
    """Ray for the time of the block; yields a private folder for what Tune writes.

    Args:
        address: an existing cluster to join; None starts Ray on this machine, on loopback.
        cores: how many a Ray of our own has at least: more than there are makes trials share them.
        data_bytes: size of the data that workers share.
        workers: how many a Ray of our own starts before it knows of any trial, for the CPUs and GPUs that it found.

    Raises:
        UserError: there is no cluster at the address, or none that this process can join, or it is in one already; or
            Ray did not start.
    """
    import ray  # with the user's environment: what it reads at its import is the user's for good

    if ray.is_initialized():
        raise UserError("this process uses Ray already, and has one at a time: ray.shutdown() first, or let that end")
    from losstune.tuning.execute.own_token import own_token

    token = own_token() if address is None else nullcontext()
    with _told(), token, private_folder() as folder, _tune_imported_meanwhile() as imported:
        try:
            _start(address, cores, data_bytes, workers, folder)
            imported.wait()
            yield folder / "tune"
        finally:
            ray.shutdown()


@contextmanager
def _told() -> Iterator[None]:
    """Ray and Tune are as a launch needs them in this block, and afterwards as the user's program has them."""
    from losstune.tuning.execute.ray_private import own_constants

    logger, former = logging.getLogger("ray"), {name: os.environ.get(name) for name in ENVIRONMENT}
    level = logger.level
    os.environ.update(ENVIRONMENT)
    logger.setLevel(logging.CRITICAL)
    try:
        with own_constants():
            yield
    finally:
        logger.setLevel(level)
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


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


def _start(
    address: str | None, cores: int, data_bytes: int, workers: Callable[[float, float], int], folder: Path
) -> None:
    from losstune.tuning.execute import ray_private

    with ray_private.own_sigterm(), ray_private.no_folder_in_front():
        if address is not None:
            join(address)
        else:
            with ray_private.raylet_without_agents(workers):
                _start_here(cores, data_bytes, folder)


def _start_here(cores: int, data_bytes: int, folder: Path) -> None:
    import ray

    from losstune.tuning.execute import ray_private

    with ray_private.only_what_trials_need(), ray_private.processes_apart():
        try:
            ray.init(
                # Without an address Ray joins any cluster that RAY_ADDRESS names, or that runs on this machine.
                address="local",
                num_cpus=max(usable_cores(), cores),
                include_dashboard=False,
                object_store_memory=MIN_OBJECT_STORE + 2 * data_bytes,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                # Ray makes this folder readable and writable for all: the private one around it keeps others out.
                _temp_dir=str(folder / "r"),
            )
        except Exception as error:
            if not ray_private.is_refusal(error):
                raise
            raise UserError(
                f"Ray did not start on this machine: {one_line(error)}; if the machine is busy, give the same command "
                "again when it is less so"
            ) from error
