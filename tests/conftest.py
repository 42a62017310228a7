"""What all tests share: Hypothesis' settings, and the command line run inside the test's own process."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, settings

from tests.reliability.tallies import Faults
from tests.running import TIMES, Times, group, is_distributed, sample, sample_seed, without_group

torch.set_num_threads(1)  # the tensors are small, and a second thread waits for whatever else the machine runs

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts a job in the background, and all below it
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("losstune", deadline=None, derandomize=bool(os.environ.get("CI")) and sample_seed() is None)
settings.register_profile("unshrunk", deadline=None, phases=[Phase.explicit, Phase.generate])
settings.load_profile("losstune")


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def mlflows_default_store_stays() -> Iterator[None]:
    """MLflow keeps its default store, and that of its registry, for all of a process: a later test would read there."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # where it writes them down as well
    before = [os.environ.get(name) for name in names]
    yield
    assert [os.environ.get(name) for name in names] == before


@pytest.fixture
def losstune(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """``losstune("train", "--num_epochs", 1)`` through the entry point, in an empty working directory.

    Anything but a clean exit is raised into the test, so a traceback can not pass for a message.
    """
    from losstune.tuning.cli.app import main

    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    threads = torch.get_num_threads()

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["losstune", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        assert isinstance(code, int)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    yield run
    torch.set_num_threads(threads)


class _NoTracker:
    """In place of the process that writes to MLflow, which takes longer than all training in most tests."""

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def ask_to_finish(self) -> None:
        pass

    def finish(self, *_: object) -> bool:
        return True


@contextmanager
def without_tracker() -> Iterator[None]:
    """Launches and confirmations in the block write nothing to MLflow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("losstune.tuning.execute.session.TrackerProcess", _NoTracker)
        yield


@pytest.fixture
def untracked() -> Iterator[None]:
    with without_tracker():
        yield


class SkipGuard:
    """A test that is skipped, and not on the committed list, fails the session: a green run hides nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._allowed = set((Path(__file__).parent / "skips.txt").read_text().split())
        self._unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = without_group(report.nodeid, self._config)
        if report.skipped and name not in self._allowed:
            self._unexpected.append(name)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._unexpected:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self._unexpected:
            terminalreporter.write_line(f"SKIPPED, and not in tests/skips.txt: {name}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Faults(config), "faults")
    if hasattr(config, "workerinput"):
        return  # the process that hands out the tests hears of all reports
    config.pluginmanager.register(SkipGuard(config), "skip-guard")
    if folder := os.environ.get(TIMES):
        config.pluginmanager.register(Times(Path(folder), config), "times")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Groups come before pytest-xdist reads them, a sample once the tests of other layers have gone."""
    if is_distributed(config):
        group(items)
    yield
    if (seed := sample_seed()) is not None:
        kept = sample(items, seed)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
