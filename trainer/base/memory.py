"""How much memory a file may take: nothing that is read here may bring the machine down."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def free_memory() -> int:
    """Bytes that this process can still get: what the machine has free, within the container's limit."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    for limit in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or the word "max"
            free = min(free, int(Path(limit).read_text()))
    return free


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """A block in which this process can get so many bytes more, and not more than are free.

    Raises:
        MemoryError: it asked for more; libraries may raise something else.
    """
    usage = Path("/proc/self/statm")
    if not usage.exists():  # not Linux: the process can not be limited from where it stands
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(usage.read_text().split()[0])
    limit = pages * resource.getpagesize() + min(more, free_memory())
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
