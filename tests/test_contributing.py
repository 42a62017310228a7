"""CONTRIBUTING.md: each of its commands does something, and each file and name it sends a reader to is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)
    for line in block.splitlines()
]
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)`")
NAME_IN = re.compile(r"`(\w+)`\s+(?:in|of)\s+`([\w/.-]+\.py)`")


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        words, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """An empty repository with this one's hooks and environment."""
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_does_something(command: str, clone: Path) -> None:
    """Targets of make are expanded, tests are collected, scripts of findings/ are looked up; all else runs."""
    program, *words = command.split()
    match program:
        case "make":
            ended = run([program, "--dry-run", *words], ROOT)
            assert "Nothing to be done" not in ended.stdout or words == ["setup"]
        case "bash":
            (script,) = words
            assert os.access(ROOT / script, os.X_OK)
            return
        case ".venv/bin/python":
            ended = run([sys.executable, *words, "--collect-only", "--quiet"], ROOT)
            assert "::" in ended.stdout
        case _:
            ended = run([program, *words], clone)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"


def test_hooks_are_installed_by_its_command(clone: Path) -> None:
    (command,) = [command for command in COMMANDS if "pre-commit" in command]
    run(command.split(), clone)
    assert "pre_commit" in (clone / ".git/hooks/pre-commit").read_text()


def test_the_inner_loop_refuses_what_is_no_package() -> None:
    ended = run(["make", "--dry-run", "quick", "PACKAGE=tuning/serach"], ROOT)
    assert ended.returncode == 2
    assert "PACKAGE: found 'tuning/serach'; allowed: trainer/base trainer/cli" in ended.stderr
    assert " tuning/search " in ended.stderr


@pytest.mark.parametrize("package", ["trainer/base", "tuning/search"])
def test_the_inner_loop_has_lint_types_import_rules_and_the_packages_tests(package: str) -> None:
    said = run(["make", "--dry-run", "quick", f"PACKAGE={package}"], ROOT).stdout
    for part in ("ruff check .", "ruff format --check .", "bin/mypy", f"tests/test_architecture.py tests/{package}\n"):
        assert part in said


def test_every_package_has_tests_where_the_inner_loop_looks() -> None:
    packages = [path.parent for top in ("trainer", "tuning") for path in (ROOT / top).glob("*/__init__.py")]
    without = [
        folder.name for folder in packages if not list((ROOT / "tests" / folder.relative_to(ROOT)).glob("test_*"))
    ]
    assert len(packages) > 15
    assert without == []


def test_all_layers_are_in_its_table() -> None:
    told = set(re.findall(r"^\| `make ([\w-]+)", TEXT, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets
    others = {"setup", "programs", "postgresql", "lint", "clean"}
    assert told == set(targets[1].split()) - others


def test_every_file_it_names_is_there() -> None:
    named = [path for path in PATH.findall(TEXT) if "NAME" not in path]
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_name_it_sends_to_stands_in_that_file() -> None:
    named = NAME_IN.findall(TEXT)
    assert len(named) >= 9
    assert [(name, file) for name, file in named if not re.search(rf"\b{name}\b", (ROOT / file).read_text())] == []
