"""What the tests of reliability tell at the end: each fault, how often it was injected, what was lost."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

PROMISES = {
    1: "kill -9 of the driver",
    2: "worker or node killed",
    3: "SIGINT, SIGTERM",
    4: "storage full, read-only, gone",
    5: "MLflow slow, failing, down",
    6: "damaged files",
    7: "launched twice",
    8: "bad metrics and exceptions",
    9: "changed under its feet",
    10: "nothing exposed or phoned",
    11: "hostile files",
    12: "long life",
}


@dataclass
class Tally:
    """One fault over all tests that inject it."""

    injected: int = 0
    lost: int = 0
    seconds: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Tallies = dict[tuple[int, str], Tally]
LEAVE, TAKE = "LOSSTUNE_LEAVE_TALLIES", "LOSSTUNE_TAKE_TALLIES"
"""Environment variables with a folder: where a process that runs a part of the tests leaves what it counted in place
of a table, and where the last one finds it."""
TALLIES = pytest.StashKey[Tallies]()


@dataclass(frozen=True)
class Recorder:
    """Keeps what a test injected; called after the test has looked at what was lost."""

    tallies: Tallies

    def __call__(
        self,
        promise: int,
        fault: str,
        *,
        injected: int = 1,
        lost: int = 0,
        seconds: float | None = None,
        note: str = "",
    ) -> None:
        """Count a fault.

        Args:
            promise: its number in docs/reliability.md.
            fault: what was done, in a few words.
            injected: how many times.
            lost: trials, epochs or files that were lost or wrong; a test that finds any also fails.
            seconds: from the fault to work going on.
            note: a figure that belongs beside it.
        """
        tally = self.tallies.setdefault((promise, fault), Tally())
        tally.injected += injected
        tally.lost += lost
        if seconds is not None:
            tally.seconds.append(seconds)
        if note:
            tally.notes.append(note)


def packed(tallies: Tallies) -> str:
    """What this process counted, for another one to add."""
    return json.dumps([[*key, asdict(tally)] for key, tally in tallies.items()])


def add(tallies: Tallies, counted: str) -> None:
    """Add what another process has packed."""
    for promise, fault, more in json.loads(counted):
        tally = tallies.setdefault((promise, fault), Tally())
        tally.injected += more["injected"]
        tally.lost += more["lost"]
        tally.seconds += more["seconds"]
        tally.notes += more["notes"]


class Faults:
    """Gathers what the processes that run the tests have counted, and prints the table at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._tallies = config.stash.setdefault(TALLIES, {})

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A process that pytest-xdist has started hands over what it counted."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["tallies"] = packed(self._tallies)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what such a process has handed over."""
        add(self._tallies, getattr(node, "workeroutput", {}).get("tallies", "[]"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, or leave it to the process that runs the last part of the tests."""
        if folder := os.environ.get(LEAVE):
            (Path(folder) / f"{os.getpid()}.json").write_text(packed(self._tallies))
            return
        if folder := os.environ.get(TAKE):
            for part in sorted(Path(folder).iterdir()):
                add(self._tallies, part.read_text())
        if self._tallies:
            Console(width=140).print(table(self._tallies))


def table(tallies: Tallies) -> Table:
    """A row for each fault."""
    found = Table("promise", "fault", "injected", "lost", "seconds to recover", "", title="Faults injected")
    for (promise, fault), tally in sorted(tallies.items()):
        worst = f"{median(tally.seconds):.1f}, at most {max(tally.seconds):.1f}" if tally.seconds else ""
        name = f"{promise} {PROMISES[promise]}"
        found.add_row(name, fault, f"{tally.injected:,}", str(tally.lost), worst, "; ".join(dict.fromkeys(tally.notes)))
    return found
