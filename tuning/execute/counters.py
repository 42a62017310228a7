"""What an epoch takes of its machine: counters of the worker's process, read before and after it."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from losstune.trainer.run.history import SYSTEM, Record

_MEGABYTE = 1e6  # as MLflow's own system metrics have it
_STATM = Path("/proc/self/statm")


def measured(run_epoch: Callable[[], Record], cores: int, device: torch.device) -> Record:
    """The record of an epoch, and beside its metrics what it took, as MLflow names such metrics.

    ``system/cpu_utilization_percentage``: CPU time of this process, in percent of the cores of its slot.
    ``system/memory_usage_megabytes``: what it has resident at the epoch's end, with data that workers share; on Linux
    alone. ``system/gpu_0_…``, of the GPU that it trains on, its only one: the most memory that torch held during the
    epoch, and, where nvidia-ml-py is installed, the GPU's utilization at its end, by all that share it.

    Args:
        cores: of the slot.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    began, used = time.perf_counter(), time.process_time()
    record = run_epoch()
    used, seconds = time.process_time() - used, time.perf_counter() - began
    taken = {"cpu_utilization_percentage": 100 * used / (seconds * cores)}
    if _STATM.exists():
        pages = int(_STATM.read_text().split()[1])
        taken["memory_usage_megabytes"] = pages * resource.getpagesize() / _MEGABYTE
    if on_gpu:
        taken |= _gpu(device)
    return {**record, **{f"{SYSTEM}{name}": round(value, 1) for name, value in taken.items()}}


def _gpu(device: torch.device) -> dict[str, float]:
    held = torch.cuda.max_memory_reserved(device)
    taken = {
        "gpu_0_memory_usage_megabytes": held / _MEGABYTE,
        "gpu_0_memory_usage_percentage": 100 * held / torch.cuda.get_device_properties(device).total_memory,
    }
    with suppress(Exception):  # no nvidia-ml-py, or what NVML raises where it does not tell: no reason to end a trial
        taken["gpu_0_utilization_percentage"] = float(torch.cuda.utilization(device))
    return taken
