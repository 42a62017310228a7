"""A benchmark as a module."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module; what it imports from beside it is forgotten after the test."""
    names = ("curves", "one_curve", "data_sets", "pairs")
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("curves")
    for name in names:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    return module
