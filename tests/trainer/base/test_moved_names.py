"""The imports that were taught before the packages moved below ``losstune``: they work, or are the user's own."""

import subprocess
import sys
from pathlib import Path

import pytest

START = "from losstune.trainer.base import references\n"


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START + program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


SAME = """
import sys, trainer.losses, losstune.trainer.losses
from trainer.losses import LossConfig
from trainer.losses.mse import MseConfig
import losstune.trainer.losses.mse as now
assert trainer.losses is losstune.trainer.losses and MseConfig is now.MseConfig
assert MseConfig.__module__ == now.__name__ == now.__spec__.name == "losstune.trainer.losses.mse"
assert losstune.trainer.losses.__spec__.name == "losstune.trainer.losses"
"""


def test_the_former_name_is_the_same_module_and_says_its_new_one_once(tmp_path: Path) -> None:
    ended = run(SAME, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("trainer is losstune.trainer now: from losstune import LossConfig, …") == 1


def test_also_in_a_clone_where_the_folder_lies_at_the_top() -> None:
    ended = run(SAME, Path(__file__).parents[3])
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["trainer.py", "trainer/__init__.py"])
def test_a_users_own_module_of_that_name_is_the_users(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("LR = 1e-3\n")
    program = (
        "import trainer\nassert trainer.LR == 1e-3\ntry:\n    import trainer.losses\nexcept ImportError: print('own')"
    )
    ended = run(program, tmp_path)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("own\n", "", 0)
