"""How the tests are run: which of them beside each other, which are in a day's sample, and how long each took."""

import json
import os
import random
from collections import defaultdict
from pathlib import Path

import pytest

SAMPLE, TIMES = "LOSSTUNE_SAMPLE", "LOSSTUNE_LEAVE_TIMES"
"""Environment variables: the seed of a sample, a day as ``20261128``; and a folder where each process leaves times."""

CLUSTERS = {"ray_address", "three_nodes"}
"""Fixtures that start Ray; tests that start it otherwise are marked ``ray``."""


def sample_seed() -> int | None:
    """The seed of the sample that is run; none where all tests are."""
    day = os.environ.get(SAMPLE)
    return int(day) if day else None


def sized(whole: int, sampled: int) -> int:
    """How many faults or cases a test takes: all, or what a sample has time for."""
    return whole if sample_seed() is None else sampled


def sample(items: list[pytest.Item], seed: int) -> list[pytest.Item]:
    """Of each file the tests marked ``always``, and one of its others, with one of its parameter sets.

    What is drawn from a file depends on the seed and on that file alone, so a day can be repeated for one file.
    """
    files: dict[Path, dict[str, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if not item.get_closest_marker("always"):
            files[item.path][getattr(item, "originalname", item.name)].append(item)
    drawn = set()
    for path, functions in files.items():
        rng = random.Random(f"{seed} {path.name}")
        drawn.add(rng.choice(functions[rng.choice(list(functions))]))
    return [item for item in items if item in drawn or item.get_closest_marker("always")]


def group(items: list[pytest.Item]) -> None:
    """The tests of a file run in one process, for the sake of what they share, and all that start Ray in one.

    Workers of Ray yield to whatever else runs: two launches beside each other take as long as one after the other.
    """
    ray = {item.path for item in items if CLUSTERS & {*getattr(item, "fixturenames", ())}}
    for item in items:
        starts_ray = item.path in ray or item.get_closest_marker("ray")
        item.add_marker(pytest.mark.xdist_group("ray" if starts_ray else item.path.name))


def without_group(nodeid: str, config: pytest.Config) -> str:
    """A test's own id: pytest-xdist appends the group's name."""
    return nodeid.rpartition("@")[0] if is_distributed(config) and "@" in nodeid else nodeid


def is_distributed(config: pytest.Config) -> bool:
    """Whether tests are handed to several processes, in the one that hands out or in one of the others."""
    return config.getoption("dist", "no") == "loadgroup"


class Times:
    """Leaves how long each test took, with what it was the first to set up, for the table of all layers."""

    def __init__(self, folder: Path, config: pytest.Config) -> None:
        self._folder, self._config = folder, config
        self._seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's set-up, call or tear-down."""
        self._seconds[without_group(report.nodeid, self._config)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write them, one file a process."""
        (self._folder / f"{os.getpid()}.json").write_text(json.dumps(self._seconds))
