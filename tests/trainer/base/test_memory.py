"""A block can not take more memory than it was given."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from losstune.trainer.base import memory
from losstune.trainer.base.memory import free_memory, memory_limit


def test_free_memory_is_what_the_kernel_calls_available_within_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", ())
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = 1024 * int(fields["MemAvailable"].split()[0])
    assert free_memory() == pytest.approx(available, rel=0.5)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (str(tmp_path / "none"), str(limit)))
    limit.write_text("12345\n")
    assert free_memory() == 12345
    limit.write_text("max\n")
    assert free_memory() > 12345


def test_a_block_that_asks_for_more_fails_and_the_process_goes_on() -> None:
    code = """
from losstune.trainer.base.memory import memory_limit
try:
    with memory_limit(64 * 2**20):
        bytes(16 * 2**20)
        bytes(256 * 2**20)
except MemoryError:
    print(len(bytes(256 * 2**20)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(256 * 2**20)]


def test_the_former_limit_is_back_after_an_error() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ZeroDivisionError), memory_limit(2**30):
        raise ZeroDivisionError
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with memory_limit(2**30):
        within = resource.getrlimit(resource.RLIMIT_AS)[0]
    assert within not in (before[0], resource.RLIM_INFINITY)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
