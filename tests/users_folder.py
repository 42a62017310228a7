"""A user's folder full of names that Python, our libraries and losstune have too, and a study on what is the user's."""

import os
import subprocess
from pathlib import Path

from tests.reliability.studies import optuna_trials, run_statuses

OTHERS = ("asyncio", "grpc", "mlflow", "optuna", "pydantic", "queue", "ray", "selectors", "signal", "torch", "uvicorn")
"""What the launch, Ray's workers, the tracker and MLflow's server import, in part when the folder is long known."""

LOSS = '''
"""A loss that tells which losstune it works with, and in which process."""
import os
from pathlib import Path

import losstune, queue, ray
from {loss_module} import LossConfig, LossModule, LossOutput, TrainTargets

class OwnConfig(LossConfig):
    """Half the squared distance."""

    name = "own"

    def build(self, train: TrainTargets) -> LossModule:
        files = [losstune.__file__, queue.__file__, ray.__file__]
        Path("{seen}").joinpath(str(os.getpid())).write_text("\\n".join(files))
        return Own()

class Own(LossModule):
    def forward(self, predictions, targets, ids):
        return LossOutput((predictions - targets).square().mean() / 2, {{}})
'''
MODEL = """
from torch import nn

def build(*, input_shape, output_dim):
    return nn.Linear(input_shape[0], output_dim)
"""
DATA = """
import numpy as np

def rows():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(200, 8)).astype("float32")
    return {"inputs": inputs, "targets": np.tanh(inputs[:, :4])}
"""
SPACE = """
loss_fn: {loss}:OwnConfig
space: {{lr: {{low: 1.0e-3, high: 1.0e-2, log: true}}}}
fixed: {{model.factory: tuning:build, batch_size: 16}}
study: {{max_epochs: 2, grace_epochs: 2, trials: {trials}}}
"""


class UsersFolder:
    """A project with packages ``trainer`` or not, ``tuning`` and ``search_spaces``, and with many unlucky names."""

    def __init__(self, folder: Path, trials: int, *, loss_module: str = "losstune.trainer.losses") -> None:
        """Write the files.

        Args:
            loss_module: what the loss imports ours from; the former name leaves none for a ``trainer`` of the user's.
        """
        self.folder, self._seen = folder, folder / "seen"
        self._loss = "own" if loss_module == "trainer.losses" else "trainer"
        for part in ("tuning", "search_spaces", "seen"):
            (folder / part).mkdir(parents=True)
        for name in OTHERS:
            self.write(f"{name}.py", f"raise ImportError('the {name} of the user')\n")
        self.write(f"{self._loss}.py", LOSS.format(loss_module=loss_module, seen=self._seen))
        self.write("tuning/__init__.py", MODEL)
        self.write("search_spaces/data.py", DATA)
        self.write("space.yaml", SPACE.format(loss=self._loss, trials=trials))

    def write(self, name: str, text: str) -> None:
        """Write one more file."""
        (self.folder / name).write_text(text)

    def losstune(self, program: Path, *arguments: str) -> str:
        """What a command printed; it has to succeed."""
        command = [str(program), *arguments]
        ended = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{arguments}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout + ended.stderr

    def check_study(self, program: Path, package: Path, *options: str) -> None:
        """A study of the user's own loss, model and data ends well, and all its processes had the right modules.

        Args:
            program: the command ``losstune`` of an environment.
            package: where that environment has the package.
            options: more of the launch.
        """
        launch = ("launch", "space.yaml", "--data", "search_spaces.data:rows", "--study", "own", *options)
        if "MLflow lacks" in self.losstune(program, *launch):  # a busy machine: it was not waited for
            assert "Error" not in (self.folder / "studies/own/tracker.log").read_text()
            self.losstune(program, "sync", "own")
        trials = optuna_trials(self.folder, "own")["own"]
        assert {trial.state.name for trial in trials} == {"COMPLETE"}, trials
        assert set(run_statuses(self.folder).values()) == {"FINISHED"}
        seen = [file.read_text().split("\n") for file in self._seen.iterdir()]
        assert seen, "a worker has built the loss"
        for ours, *others in seen:
            assert os.path.realpath(ours) == os.path.realpath(package / "__init__.py")
            assert not any(Path(other).parent == self.folder for other in others)
