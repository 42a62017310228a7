"""What a clone says about itself: licence, versions, the hooks before a commit."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt."""


def test_the_licence_is_the_one_that_the_project_names() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    (file,) = PROJECT["license-files"]
    assert hashlib.sha256((ROOT / file).read_bytes()).hexdigest() == APACHE_2


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions == [PROJECT["version"], "0.1.0"]


class TestHooks:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]

    def run(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        kept = {**os.environ, "PRE_COMMIT_HOME": str(folder / "pre-commit")}
        command = [sys.executable, "-m", "pre_commit", "run", "--all-files", *words]
        return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)

    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        """A repository with this one's hooks and environment, and one clean module."""
        for name in (".pre-commit-config.yaml", "pyproject.toml"):
            shutil.copy(ROOT / name, tmp_path / name)
        (tmp_path / ".gitignore").write_text(".venv\n/pre-commit/\n")
        (tmp_path / ".venv").symlink_to(ROOT / ".venv")
        (tmp_path / "module.py").write_text('"""A module."""\n\nNAME = "x"\n')
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
        return tmp_path

    def test_nothing_is_fetched(self) -> None:
        assert self.local["repo"] == "local"
        assert {hook["language"] for hook in self.local["hooks"]} == {"system"}

    def test_they_run_what_make_lint_runs(self) -> None:
        recipe = re.search(r"^lint: setup\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert recipe
        lint = [line.replace("$(BIN)", ".venv/bin").removesuffix(" .").strip() for line in recipe[1].splitlines()]
        entries = [hook["entry"] for hook in self.local["hooks"]]
        assert [entry.removesuffix(" --force-exclude") for entry in entries] == lint
        assert all(os.access(ROOT / entry.split()[0], os.X_OK) for entry in entries)

    def test_a_clean_module_passes(self, clone: Path) -> None:
        for hook in ("ruff-check", "ruff-format"):
            ended = self.run(clone, hook)
            assert (ended.returncode, ended.stdout[-7:]) == (0, "Passed\n"), ended.stdout

    @pytest.mark.parametrize(
        ("hook", "text", "says"),
        [
            ("ruff-check", '"""A module."""\n\nimport os\n', "F401"),
            ("ruff-format", '"""A module."""\n\nNAME = "x" \n', "1 file would be reformatted"),
        ],
    )
    def test_another_is_refused_with_the_reason(self, clone: Path, hook: str, text: str, says: str) -> None:
        (clone / "module.py").write_text(text)
        ended = self.run(clone, hook)
        assert ended.returncode == 1
        assert says in ended.stdout

    def test_types_are_checked_when_the_product_changes(self) -> None:
        (mypy,) = [hook for hook in self.local["hooks"] if hook["id"] == "mypy"]
        assert all(re.search(mypy["files"], path) for path in ("trainer/run/loop.py", "losstune/__init__.py"))
        assert not re.search(mypy["files"], "tests/test_project.py")
