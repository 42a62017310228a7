"""What is drawn for a day, and the table of where the time went."""

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.running import sample

ROOT = Path(__file__).parent.parent


class Item:
    """As pytest collects it."""

    def __init__(self, file: str, function: str, parameter: str = "", *, always: bool = False) -> None:
        self.path, self.originalname = Path(file), function
        self.name = f"{function}[{parameter}]" if parameter else function
        self._marks = {"always"} if always else set()

    def get_closest_marker(self, name: str) -> bool:
        return name in self._marks


ITEMS: Any = [
    *(Item("a.py", "one", str(number)) for number in range(5)),
    Item("a.py", "two"),
    Item("b.py", "cheap", always=True),
    Item("b.py", "dear"),
]


@pytest.mark.parametrize("day", range(20261128, 20261140))
def test_each_file_has_what_is_always_run_and_one_test_more(day: int) -> None:
    drawn = sample(ITEMS, day)
    assert Counter(item.path.name for item in drawn) == {"a.py": 1, "b.py": 2}
    assert drawn == sample(ITEMS, day)
    assert drawn[0] == sample([item for item in ITEMS if item.path.name == "a.py"], day)[0]


def test_every_test_has_its_day_and_many_parameters_are_no_more_often_drawn() -> None:
    drawn = Counter(sample(ITEMS, day)[0].name for day in range(400))
    assert set(drawn) == {"two", *(f"one[{number}]" for number in range(5))}
    assert 150 < drawn["two"] < 250


@pytest.fixture
def layers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers", ROOT / "tools" / "layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_names_what_failed_and_the_slowest(layers: ModuleType) -> None:
    test = layers.Ran("test", True, 90.0, {f"t.py::test_{number}": float(number) for number in range(12)})
    demo = layers.Ran("demo", False, 30.0)
    lines = layers.table([test, demo]).splitlines()
    assert lines[1].split() == ["layer", "tests", "minutes"]
    assert lines[2].split() == ["test", "12", "1.5"]
    assert lines[3].split() == ["demo", "0.5", "FAILED"]
    assert lines[4].split() == ["all", "12", "2.0"]
    assert lines[7].split() == ["11.0", "t.py::test_11"]
    assert len(lines) == 7 + 10


def test_every_layer_is_a_target(layers: ModuleType) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert [layer for layer in layers.LAYERS if f"\n{layer}:" not in makefile] == []
