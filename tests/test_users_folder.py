"""Studies in a folder full of unlucky names: from a wheel in its own environment, and from an editable install."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import losstune
from tests.reliability.studies import LOSSTUNE
from tests.test_docs import ROOT
from tests.test_examples import NOTEBOOK, RUN_CELLS
from tests.test_face import PROGRAM
from tests.users_folder import UsersFolder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has losstune from the wheel of what the image copies, and all else from this environment."""
    root = tmp_path_factory.mktemp("wheel")
    source, environment = root / "source", root / "environment"
    copy_as_in_the_image(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "others.pth").write_text("\n".join(installed))  # which reads no .pth file there: no editable install
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(root), str(source)]
    subprocess.run([*pip, *built], check=True)
    (wheel,) = root.glob("losstune-*.whl")
    python = str(environment / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    return environment


def copy_as_in_the_image(target: Path) -> None:
    """What deploy/Dockerfile copies: links stay links there."""
    target.mkdir()
    for names in re.findall(r"^COPY --chown=ray (.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(), re.M):
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target / name)


def test_a_study_from_a_wheel(environment: Path, tmp_path: Path) -> None:
    """The user's loss lies in a ``trainer`` of the user's own; MLflow's page opens too."""
    program = environment / "bin" / "losstune"
    (package,) = environment.glob("lib/python*/site-packages/losstune")
    users = UsersFolder(tmp_path / "work", trials=1)
    users.write("losstune.py", "raise ImportError('the losstune of the user')\n")
    assert "temperature" in users.losstune(program, "check", "infonce", "--max-epochs", "3"), "spaces are in the wheel"
    users.check_study(program, package)
    command = [str(program), "ui", "--port", "0"]
    with subprocess.Popen(command, cwd=users.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if b"Application startup complete" in line:
                break
        else:
            pytest.fail(b"".join(said).decode())
        server.send_signal(signal.SIGINT)


def test_a_study_from_an_editable_install(tmp_path: Path) -> None:
    """A clone lies in the folder: to Python a package without ``__init__.py``. The loss uses the former imports."""
    users = UsersFolder(tmp_path / "work", trials=1, loss_module="trainer.losses")
    (users.folder / "losstune" / "docs").mkdir(parents=True)
    users.check_study(Path(LOSSTUNE), Path(losstune.__file__).parent)


@pytest.mark.slow
def test_the_program_of_the_face_and_the_notebook_run_from_a_wheel(environment: Path, tmp_path: Path) -> None:
    (package,) = environment.glob("lib/python*/site-packages/losstune")
    assert (package / "__init__.pyi").exists(), "type checkers find the face's names"
    for arguments, written in (([str(PROGRAM)], "found.json"), (["-c", RUN_CELLS, str(NOTEBOOK)], "shown.json")):
        folder = tmp_path / written.removesuffix(".json")
        folder.mkdir()
        subprocess.run([str(environment / "bin" / "python"), *arguments], cwd=folder, check=True)
        assert json.loads((folder / written).read_text())
