"""How many cores there are: what the process may run on, within its container's quota."""

import os
from pathlib import Path

import pytest

from losstune.tuning.execute import cores
from losstune.tuning.execute.cores import usable_cores


@pytest.fixture(autouse=True)
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process that may run on 64 cores, in a container whose quota stands in files of this folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    files = [tuple(str(tmp_path / Path(file).name) for file in files) for files in cores._QUOTAS]
    monkeypatch.setattr(cores, "_QUOTAS", files)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "found"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("20000 100000\n", 1),
        ("6400000 50000\n", 64),
        ("max 100000\n", 64),
        ("", 64),
    ],
)
def test_a_quota_counts_in_whole_cores(group: Path, quota: str, found: int) -> None:
    (group / "cpu.max").write_text(quota)
    assert usable_cores() == found


@pytest.mark.parametrize(("quota", "found"), [("250000\n", 3), ("1000\n", 1), ("-1\n", 64), ("0\n", 64)])
def test_a_quota_of_the_first_version_of_control_groups(group: Path, quota: str, found: int) -> None:
    (group / "cpu.cfs_quota_us").write_text(quota)
    assert usable_cores() == 64
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == found


def test_without_a_quota_it_is_what_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == 64
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
