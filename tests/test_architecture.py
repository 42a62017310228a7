"""The house: packages import downwards only, and each big library has one room.

The orders below are the whole rule; ARCHITECTURE.md tells what each package is for, and is held to them.
"""

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import losstune

ROOT = Path(losstune.__file__).parent

TRAINER = ("base", "config", "losses", "score", "data", "model", "run", "cli")
TUNING = (
    "space",
    "storage",
    "study",
    "search",
    "confirm",
    "track",
    "show",
    "execute",
    "report",
    "commands",
    "cli",
)
ORDERS = {"trainer": TRAINER, "tuning": TUNING}
STRANGERS = {("show", "track"), ("report", "execute")}
"""Neighbours in the list that do not know each other."""

ROOMS = {
    "ray": ("tuning/execute",),
    "mlflow": ("tuning/track",),
    "typer": ("tuning/cli", "trainer/cli"),
}
"""Where alone a library is imported."""
MIRRORED = ("tuning/space", "tuning/storage", "tuning/study", "tuning/search", "tuning/commands", "tuning/cli")
"""Packages of which each module has a test of its name."""


@dataclass(frozen=True)
class Import:
    """One import in one module, both by their parts below ``losstune``; a library's name has one part."""

    module: tuple[str, ...]
    imported: tuple[str, ...]
    ours: bool

    def __str__(self) -> str:
        return f"{'/'.join(self.module)} imports {'.'.join(self.imported)}"


def sources() -> list[Path]:
    """All modules of the product, through the links of a clone."""
    found = (Path(folder) / name for folder, _, names in os.walk(ROOT, followlinks=True) for name in names)
    return sorted(path for path in found if path.suffix == ".py")


def imports_of(path: Path) -> Iterator[Import]:
    """All imports of a module, also those inside functions and for type checkers only."""
    module = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(name), level=0):
                names = [f"{name}.{alias.name}" if name == "losstune" else name for alias in node.names]
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                names = ["a relative import"]
            case _:
                continue
        for name in names:
            parts = tuple(name.split("."))
            yield Import(module, parts[1:], True) if parts[0] == "losstune" else Import(module, parts[:1], False)


IMPORTS = [found for path in sources() for found in imports_of(path)]


def goes_up(found: Import) -> bool:
    """Whether a module imports from a package that stands below its own in the list, or from a stranger."""
    (top, *inside), (other, *target) = found.module, found.imported or ("",)
    if top not in ORDERS:
        return False  # the face: names only
    if other != top:
        return (top, other) != ("tuning", "trainer") and other != "search_spaces"
    order, package = ORDERS[top], inside[0]
    if package == "__init__" or not target:
        return True
    up = order.index(target[0]) > order.index(package)
    return up or (package, target[0]) in STRANGERS or (target[0], package) in STRANGERS


def test_all_packages_are_walked_and_each_has_its_place() -> None:
    assert len(sources()) > 120
    for top, order in ORDERS.items():
        packages = {path.relative_to(ROOT).parts[1] for path in sources() if path.relative_to(ROOT).parts[0] == top}
        assert packages == {*order, "__init__.py"}, "a package, and no module, below each of the two"


def test_packages_import_downwards_only() -> None:
    assert [str(found) for found in IMPORTS if found.ours and goes_up(found)] == []


@pytest.mark.parametrize("library", ROOMS)
def test_a_big_library_has_one_room(library: str) -> None:
    found = [one for one in IMPORTS if not one.ours and one.imported == (library,)]
    assert found, f"nothing imports {library} any more: take it out of the table"
    assert [str(one) for one in found if "/".join(one.module[:2]) not in ROOMS[library]] == []


@pytest.mark.parametrize("package", MIRRORED)
def test_a_module_s_test_is_found_by_its_name(package: str) -> None:
    modules = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"}
    tests = {path.name.removeprefix("test_") for path in (Path(__file__).parent / package).glob("test_*.py")}
    assert sorted(modules - tests) == []


def test_no_import_is_relative() -> None:
    assert [str(found) for found in IMPORTS if found.imported == ("a relative import",)] == []


def test_no_two_modules_import_each_other() -> None:
    arrows = {(found.module, found.imported) for found in IMPORTS if found.ours}
    assert sorted("/".join(a) for a, b in arrows if (b, a) in arrows and a != b) == []


def test_the_rules_see_what_they_forbid() -> None:
    """Each rule on an import that breaks it."""
    assert goes_up(Import(("tuning", "space", "reader"), ("tuning", "storage", "home"), True))
    assert goes_up(Import(("tuning", "show", "status"), ("tuning", "track", "runs"), True))
    assert goes_up(Import(("tuning", "execute", "session"), ("tuning", "report", "page"), True))
    assert goes_up(Import(("trainer", "run", "loop"), ("tuning", "space", "settings"), True))
    assert goes_up(Import(("trainer", "base", "files"), ("trainer", "run", "loop"), True))
    assert not goes_up(Import(("tuning", "study", "study"), ("tuning", "storage", "home"), True))
    assert not goes_up(Import(("tuning", "space", "settings"), ("trainer", "score", "metrics"), True))


class TestDocument:
    """ARCHITECTURE.md, in the clone that these tests are of."""

    CLONE = Path(__file__).parent.parent
    TEXT = (CLONE / "ARCHITECTURE.md").read_text()

    @pytest.mark.parametrize("top", ORDERS)
    def test_it_lists_the_packages_in_the_order_in_which_they_import(self, top: str) -> None:
        table = self.TEXT.partition(f"| `{top}/` |")[2].partition("\n\n")[0]
        assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == ORDERS[top]

    @pytest.mark.parametrize("library", ROOMS)
    def test_it_says_where_a_big_library_is_imported(self, library: str) -> None:
        (row,) = re.findall(rf"^\| `(\w+)` \| .*alone imports {library} \|$", self.TEXT, re.MULTILINE)
        assert f"tuning/{row}" in ROOMS[library]

    def test_it_names_the_strangers(self) -> None:
        told = re.findall(r"`(\w+)` and `(\w+)` do not know each other, nor do `(\w+)` and\s+`(\w+)`", self.TEXT)
        (names,) = told
        assert {frozenset(names[:2]), frozenset(names[2:])} == {frozenset(pair) for pair in STRANGERS}

    def test_every_file_it_names_is_there(self) -> None:
        named = re.findall(r"[`(]((?:[\w.-]+/)+[\w.-]+\.\w+)[`)]", self.TEXT)
        assert len(named) > 20
        assert [name for name in named if not (self.CLONE / name).exists()] == []

    def test_its_words_are_those_of_the_code(self) -> None:
        words = re.findall(r"^\| \*\*([\w ]+)\*\* \|", self.TEXT, re.MULTILINE)
        code = "\n".join(path.read_text() for path in sources()).lower()
        assert words == sorted(words)
        assert len(words) > 20
        assert [word for word in words if not re.search(rf"\b{word}s?\b", code)] == []

    def test_its_picture_shows_packages_that_there_are(self) -> None:
        picture = (self.CLONE / "docs/trial.svg").read_text()
        shown = set(re.findall(r"(?:trainer|tuning)/\w+", picture))
        assert shown >= {
            "tuning/space",
            "tuning/search",
            "tuning/study",
            "tuning/execute",
            "trainer/run",
            "tuning/track",
        }
        assert {name for name in shown if not (ROOT / name / "__init__.py").exists()} == set()
