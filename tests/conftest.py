"""What all tests share: Hypothesis' settings, and the command line run inside the test's own process."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tensors are small, and a second thread waits for whatever else the machine runs

settings.register_profile("losstune", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("losstune")


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def losstune(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """``losstune("train", "--num_epochs", 1)`` through the entry point, in an empty working directory.

    Anything but a clean exit is raised into the test, so a traceback can not pass for a message.
    """
    from tuning.cli import main

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
