"""Tests mirror sources: what a module does is tested in the module of its own name, so that one finds it."""

import ast
from pathlib import Path

import pytest

CLONE = Path(__file__).parent.parent


def modules(top: str) -> list[Path]:
    """The modules of a top folder that do something, by their paths in the clone."""
    found = (path for path in (CLONE / top).rglob("*.py") if path.name != "__init__.py")
    return sorted(path.relative_to(CLONE) for path in found if does_something(path.read_text()))


def does_something(source: str) -> bool:
    """Whether there is a function or a class; names and numbers alone have nothing to be tested by."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return any(isinstance(node, kinds) for node in ast.walk(ast.parse(source)))


def place_of_tests(path: Path) -> Path:
    """Where the tests of a module are."""
    return CLONE / "tests" / path.with_name(f"test_{path.name}")


def has_tests(path: Path) -> bool:
    """Whether a module of tests is there and has some."""
    return path.exists() and "def test_" in path.read_text()


@pytest.mark.parametrize("top", ["trainer", "tuning"])
def test_each_module_has_place_of_tests_its_own_name(top: str) -> None:
    assert len(modules(top)) > 40
    assert [str(path) for path in modules(top) if not has_tests(place_of_tests(path))] == []


def test_constants_alone_need_no_tests() -> None:
    assert not does_something('"""A module."""\n\nfrom typing import Literal\n\nName = Literal["a"]\nMOST = 3\n')
    assert does_something("def f() -> None: ...\n")
