"""How many cores there are to train on."""

import math
import os
from contextlib import suppress
from pathlib import Path

_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Files with a container's quota and its period, both in microseconds; the first has no number where there is no quota,
the second a negative one."""


def usable_cores() -> int:
    """Cores that this process may run on, as far as its container lets it: a part of one counts as one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in _QUOTAS:
        with suppress(OSError, ValueError):  # no such file, or the word "max"
            quota, period = map(int, " ".join(Path(file).read_text() for file in files).split())
            if quota > 0 and period > 0:
                cores = min(cores, math.ceil(quota / period))
    return cores
