"""A folder full of files with other modules' names: whose module each import gets, and what is said of the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RESOLVE = """
import importlib.util, json, sys
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.references import resolve

found = {}
for reference in sys.argv[1:]:
    try:
        found[reference] = resolve(reference, "--data").__module__
    except UserError as error:
        found[reference] = str(error)
origins = {name: importlib.util.find_spec(name).origin for name in ("mlflow", "queue", "wave", "jinja2", "neighbour")}
print(json.dumps({"found": found, "origins": origins}))
"""
SPAWN = """
import sys
from multiprocessing import get_context
from losstune.trainer.base.users_modules import search_in, without_users_folders

if __name__ == "__main__":
    search_in("")
    code = "import losstune.trainer, sys; sys.exit('' in sys.path)"
    with without_users_folders():
        process = get_context("spawn").Process(target=exec, args=(code,))
        process.start()
    process.join()
    print(process.exitcode, sys.path.count(""))
"""
FUNCTION = "def rows(): pass\n"


def run(program: str, folder: Path, *arguments: str) -> str:
    """What a script prints that lies above the folder, and is run in it."""
    script = folder.parent / "program.py"
    script.write_text(program)
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(folder.parent / "installed")]))
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place") / "work"
    for package in ("tuning", "search_spaces", "jinja2", "yaml"):
        (folder / package).mkdir(parents=True)
    (folder / "tuning" / "__init__.py").write_text(FUNCTION)
    (folder / "search_spaces" / "own.py").write_text(FUNCTION)
    for name in ("trainer", "losstune", "mlflow", "queue", "wave", "neighbour"):
        (folder / f"{name}.py").write_text(FUNCTION)
    (folder / "needs_all.py").write_text("import neighbour, search_spaces.own, trainer, tuning\n" + FUNCTION)
    (folder / "needs_queue.py").write_text("from queue import rows\n")
    (folder / "asks_queue.py").write_text("import queue\nqueue.rows()\n")
    (folder.parent / "installed").mkdir()
    (folder.parent / "installed" / "neighbour.py").write_text("raise ImportError('that of somebody else')\n")
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Any]:
    modules = ["needs_all", "needs_queue", "asks_queue", "trainer", "tuning", "search_spaces.own", "neighbour"]
    modules += ["losstune", "queue", "wave"]
    own = "losstune.trainer.losses.mse:MseConfig"
    references = [f"{module}:rows" for module in modules]
    return dict(json.loads(run(RESOLVE, folder, *references, own)))


@pytest.mark.parametrize("module", ["needs_all", "trainer", "tuning", "search_spaces.own", "neighbour"])
def test_what_the_user_names_is_the_users(answers: dict[str, Any], module: str) -> None:
    """Also where somebody else's module has the name, that losstune does not need."""
    assert answers["found"][f"{module}:rows"] == module


def test_ours_is_ours(answers: dict[str, Any]) -> None:
    assert answers["found"]["losstune.trainer.losses.mse:MseConfig"] == "losstune.trainer.losses.mse"


@pytest.mark.parametrize("name", ["mlflow", "queue", "wave", "jinja2"])
def test_a_library_is_the_installed_one_whatever_lies_in_the_folder(
    folder: Path, answers: dict[str, Any], name: str
) -> None:
    assert not Path(answers["origins"][name]).is_relative_to(folder)
    assert answers["origins"]["neighbour"] == str(folder / "neighbour.py")


@pytest.mark.parametrize(
    ("reference", "file", "owner"),
    [
        ("losstune:rows", "losstune", "losstune itself"),
        ("queue:rows", "queue", "Python's own module queue"),
        ("wave:rows", "wave", "Python's own module wave"),
        ("needs_queue:rows", "queue", "Python's own module queue"),
        ("asks_queue:rows", "queue", "Python's own module queue"),
    ],
)
def test_a_name_that_both_have_is_one_clear_error(
    folder: Path, answers: dict[str, Any], reference: str, file: str, owner: str
) -> None:
    said = f"--data {reference}: {owner} is found before {folder / file}.py; give that file another name"
    assert answers["found"][reference] == said


def test_a_library_that_losstune_needs_is_named(folder: Path) -> None:
    (folder / "shellingham.py").write_text(FUNCTION)
    said = json.loads(run(RESOLVE, folder, "shellingham:rows"))["found"]
    (folder / "shellingham.py").unlink()
    assert said["shellingham:rows"] == (
        f"--data shellingham:rows: the package shellingham, which losstune needs, is found before "
        f"{folder / 'shellingham.py'}; give that file another name"
    )


def test_a_process_can_start_without_the_folder(folder: Path) -> None:
    for name in ("socket", "selectors", "signal"):
        (folder / f"{name}.py").write_text("raise ImportError('a spawned process begins with these')\n")
    assert run(SPAWN, folder) == "0 1\n"


def test_python_m_gives_libraries_back_their_names(tmp_path: Path) -> None:
    """Python has the working folder in front of all there, from before our first line."""
    (tmp_path / "mlflow.py").touch()
    (tmp_path / "started.py").write_text(
        "import importlib.util, sys, losstune.tuning.cli.app as app\n"
        "origin = lambda: importlib.util.find_spec('mlflow').origin\n"
        "app.run = lambda app: print(before == sys.path[0] + '/mlflow.py', origin() == before)\n"
        "before = origin()\n"
        "app.main()\n"
    )
    done = subprocess.run([sys.executable, "-m", "started"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_workers_are_told_the_working_folder_and_that_of_a_script(folder: Path) -> None:
    program = "from losstune.trainer.base.users_modules import drivers_folders\nprint(*drivers_folders())"
    assert run(program, folder) == f"{folder} {folder.parent}\n"
