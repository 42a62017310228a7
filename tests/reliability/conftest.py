"""What the tests of reliability tell at the end: each fault, how often it was injected, what was lost."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

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
_TALLIES = pytest.StashKey[Tallies]()


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


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Recorder:
    """See :class:`Recorder`."""
    return Recorder(request.config.stash.setdefault(_TALLIES, {}))


def leave(tallies: Tallies, folder: Path) -> None:
    """Write what this process counted."""
    rows = [[*key, asdict(tally)] for key, tally in tallies.items()]
    (folder / f"{os.getpid()}.json").write_text(json.dumps(rows))


def take(tallies: Tallies, folder: Path) -> None:
    """Add what other processes have left."""
    for part in sorted(folder.iterdir()):
        for promise, fault, counted in json.loads(part.read_text()):
            tally = tallies.setdefault((promise, fault), Tally())
            tally.injected += counted["injected"]
            tally.lost += counted["lost"]
            tally.seconds += counted["seconds"]
            tally.notes += counted["notes"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    tallies: Tallies = config.stash.get(_TALLIES, {})
    if folder := os.environ.get(LEAVE):
        leave(tallies, Path(folder))
        return
    if folder := os.environ.get(TAKE):
        take(tallies, Path(folder))
    if not tallies:
        return
    table = Table("promise", "fault", "injected", "lost", "seconds to recover", "", title="Faults injected")
    for (promise, fault), tally in sorted(tallies.items()):
        worst = f"{median(tally.seconds):.1f}, at most {max(tally.seconds):.1f}" if tally.seconds else ""
        name = f"{promise} {PROMISES[promise]}"
        table.add_row(name, fault, f"{tally.injected:,}", str(tally.lost), worst, "; ".join(dict.fromkeys(tally.notes)))
    Console(width=140).print(table)
