"""The front door: which names there are, that each loads no more than it needs, and a program that uses all."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import losstune

ROOT = Path(__file__).parent.parent
PROGRAM = Path(__file__).with_name("program.py")
NAMES = [
    "BestTrial",
    "ComparisonView",
    "Gallery",
    "LossConfig",
    "LossModule",
    "LossOutput",
    "LosstuneError",
    "Pairs",
    "Run",
    "StudyView",
    "TrainConfig",
    "TrainTargets",
    "TrainedModel",
    "__version__",
    "centered",
    "compare",
    "confirm",
    "cosine_distance",
    "export",
    "launch",
    "load_model",
    "load_pairs",
    "open_study",
    "report",
    "score",
    "split_rows",
    "studies",
    "train",
    "unit",
]
"""The contract with programs: a name may come, none may go."""


def test_the_names_are_the_contract() -> None:
    assert sorted(losstune.__all__) == NAMES
    assert dir(losstune) == NAMES


def test_every_name_is_there_and_no_other() -> None:
    assert all(getattr(losstune, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="module 'losstune' has no attribute 'lunch'"):
        _ = losstune.lunch  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    stub = ast.parse(Path(losstune.__file__).with_suffix(".pyi").read_text())
    told = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == {name: f"losstune.{module}" for name, module in losstune._HOMES.items()}
    (declared,) = (n.value for n in stub.body if isinstance(n, ast.Assign))
    assert sorted(ast.literal_eval(declared)) == NAMES


@pytest.mark.parametrize(
    ("asked", "free_of"),
    [
        ("", {"torch", "ray", "optuna", "mlflow", "numpy", "pydantic", "losstune.tuning", "losstune.trainer"}),
        ("LosstuneError", {"torch", "ray", "optuna", "mlflow", "numpy"}),
        ("load_model", {"ray", "optuna", "mlflow"}),
        ("train", {"ray", "optuna", "mlflow", "losstune.tuning"}),
        ("open_study", {"ray"}),
    ],
)
def test_a_name_loads_what_it_needs(asked: str, free_of: set[str]) -> None:
    program = f"import losstune, sys; {f'losstune.{asked}' if asked else 'pass'}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert free_of.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("command", [["-m", "losstune"], [str(Path(sys.executable).with_name("losstune"))]])
def test_the_command_line_is_there_as_a_module_and_tells_its_version(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"losstune {losstune.__version__}\n"


def test_the_program_uses_every_name_and_is_well_typed() -> None:
    used = {node.attr for node in ast.walk(ast.parse(PROGRAM.read_text())) if isinstance(node, ast.Attribute)}
    assert set(NAMES) <= used
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(PROGRAM)],  # strict, as pyproject.toml says
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOSSTUNE_")}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Any:
    return json.loads((folder / "found.json").read_text())


class TestTheProgram:
    """A script without ``if __name__``, in a thread, with arrays in memory, quietly."""

    def test_the_study_has_its_trials(self, found: Any) -> None:
        assert [row["trial"] for row in found["frame"]] == ["mse-0000", "mse-0001", "cosine-0000", "cosine-0001"]
        assert {row["state"] for row in found["frame"]} <= {"complete", "pruned"}
        assert found["best"][0] in ("mse-0000", "mse-0001")
        assert found["best"][2] == ["lr"]
        assert found["optuna"] == 2
        assert found["studies"] == ["mine"]

    def test_the_answer_comes_from_the_confirmation(self, found: Any) -> None:
        assert found["winner"] in ("mse", "cosine")
        assert found["pairs"] == 2
        assert found["answer"]
        assert found["report"] > 1e6
        assert found["exported"].startswith(found["winner"])

    def test_arrays_are_kept_with_the_study_and_every_other_command_works_on_it(self, folder: Path, found: Any) -> None:
        assert found["data"] == str(folder / "studies" / "mine" / "data.npz")
        spec = yaml.safe_load((folder / "studies" / "mine" / "study.yaml").read_text())
        assert spec["data_source"] == "data.npz", "where it is does not matter: a folder may be moved"
        assert yaml.safe_load((folder / "best.yaml").read_text())["data"] == found["data"]
        moved = folder.with_name("moved")
        folder.rename(moved)
        try:
            status = subprocess.run(
                [sys.executable, "-m", "losstune", "status", "mine", "--json"],
                cwd=moved,
                capture_output=True,
                text=True,
                check=True,
            )
            assert json.loads(status.stdout)["data"] == str(moved / "studies" / "mine" / "data.npz")
        finally:
            moved.rename(folder)

    def test_the_model_scores_as_its_run_says(self, found: Any) -> None:
        assert found["trained"][0] == found["winner"]
        assert found["scored"] == pytest.approx(found["trained"][1])
        assert found["oracle"] == 1.0

    def test_errors_speak_of_arguments(self, found: Any) -> None:
        assert found["error"].startswith("study: max_epochs: found 0; should be greater than or equal to 1")

    def test_the_process_is_as_it_was(self, found: Any) -> None:
        assert found["threads_after"] == found["threads"]
