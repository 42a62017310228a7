"""The self-test takes away what stands in the sources, and asks tests that are there."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def removals() -> Any:
    spec = importlib.util.spec_from_file_location("torture_selftest", ROOT / "tools" / "torture_selftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.REMOVALS


@pytest.mark.parametrize("removal", removals(), ids=lambda removal: removal.protection)
def test_a_protection_stands_once_and_its_tests_are_there(removal: Any) -> None:
    assert (ROOT / removal.file).read_text().count(removal.old) == 1
    for test in removal.tests:
        file, *names = test.split("::")
        text = (ROOT / file).read_text()
        assert [name for name in names if f"def {name}(" not in text and f"class {name}:" not in text] == []
