"""What is imported is declared: a library that comes with another one goes when that one changes its mind."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"losstune", "tests", "tools"}
EARLIER = {"trainer", "tuning"}
"""Names that packages of ours had, for a benchmark of an earlier release."""
SIDE_BY_SIDE = {path.stem for folder in ("benchmarks", "examples/text-pairs") for path in (ROOT / folder).glob("*.py")}
"""Scripts that import each other."""
BROUGHT = {"IPython"}
"""What a notebook brings, and nothing imports outside of one."""
NOT_IMPORTED = {"scikit-learn"}
"""Its digits are read from their file."""

OF_THE_CLUSTER = ["tuning/storage/patient_connection.py imports psycopg"]
"""What a database of studies needs, and losstune[cluster] brings; imported where one is named."""
OF_A_PEER = ["benchmarks/syne_tune_peers.py imports syne_tune"]
"""What only a benchmark measures beside losstune, where someone has installed it."""


def normal(name: str) -> str:
    """A distribution's name as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """The distributions that an installation with these extras asks for."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]


def imported(folder: str) -> Iterator[tuple[str, Path]]:
    """Every top-level package that a module below a folder imports, also inside functions."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ImportFrom(module=str(name), level=0):
                    yield name.partition(".")[0], path
                case ast.Import(names=names):
                    yield from ((alias.name.partition(".")[0], path) for alias in names)


def undeclared(folders: tuple[str, ...], known: set[str]) -> list[str]:
    """Each import of what no declared distribution holds."""
    holders, free = packages_distributions(), sys.stdlib_module_names | OURS | EARLIER | SIDE_BY_SIDE | BROUGHT
    return sorted(
        {
            f"{path.relative_to(ROOT)} imports {name}"
            for folder in folders
            for name, path in imported(folder)
            if name not in free and known.isdisjoint(map(normal, holders.get(name, [])))
        }
    )


def test_what_the_product_imports_is_declared() -> None:
    assert undeclared(("trainer", "tuning"), declared()) == OF_THE_CLUSTER
    assert undeclared(("trainer", "tuning"), declared("cluster")) == []


def test_what_tests_and_tools_import_is_declared_for_development() -> None:
    assert undeclared(("tests", "tools", "benchmarks"), declared("cluster", "dev")) == OF_A_PEER


def test_an_import_that_is_not_declared_is_found() -> None:
    found = undeclared(("trainer", "tuning"), declared() - {"scipy", "sqlalchemy"})
    assert "tuning/storage/failures.py imports sqlalchemy" in found
    assert any(line.endswith("imports scipy") for line in found)


def test_what_is_declared_is_used() -> None:
    holders = packages_distributions()
    names = {name for folder in ("trainer", "tuning") for name, _ in imported(folder)}
    assert declared() - {normal(found) for name in names for found in holders.get(name, [])} == NOT_IMPORTED


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_a_dependency_has_a_lower_bound(line: str) -> None:
    assert re.search(r">=\d", line)
