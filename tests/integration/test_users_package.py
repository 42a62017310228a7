"""A model, data and a loss in somebody's own package, tuned end to end; nothing of ours is changed for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.ray

DATA = '''
import torch

def signals():
    """Waves of one channel (600, 1, 24), a tensor; what to find is their frequency and phase, as 6 numbers."""
    random = torch.Generator().manual_seed(0)
    frequency, phase = torch.rand(2, 600, 1, generator=random)
    time = torch.linspace(0, 6.28, 24)
    waves = torch.sin((1 + 3 * frequency) * time + 6.28 * phase) + 0.1 * torch.randn(600, 24, generator=random)
    angles = torch.cat([frequency, phase, 1 - frequency], dim=1) * 6.28
    return {"inputs": waves[:, None], "targets": torch.cat([angles.sin(), angles.cos()], dim=1)}
'''

MODEL = """
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

class Convolutions(nn.Sequential):
    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_dim: int,
        channels: Annotated[int, Field(ge=1, le=64, description="of each layer")] = 8,
        depth: int = 1,
        pool: Literal["mean", "max"] = "mean",
    ) -> None:
        widths = [input_shape[0], *[channels] * depth]
        layers = [
            part
            for before, after in zip(widths, widths[1:])
            for part in (nn.Conv1d(before, after, 5, padding=2), nn.GELU())
        ]
        last = nn.AdaptiveMaxPool1d(4) if pool == "max" else nn.AdaptiveAvgPool1d(4)
        super().__init__(*layers, last, nn.Flatten(), nn.Linear(4 * channels, output_dim))
"""

LOSS = '''
import torch
from pydantic import Field

from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets, unit

class AngleConfig(LossConfig):
    """The angle between prediction and target, to a power."""

    name = "angle"
    recommended_batch = 32

    power: float = Field(1.0, ge=0.5, le=4, description="of the angle")

    def build(self, train: TrainTargets) -> LossModule:
        return Angle(self.power)

class ChordConfig(LossConfig):
    """The distance on the unit sphere, to a power."""

    name = "chord"
    recommended_batch = 32

    power: float = Field(1.0, ge=0.5, le=4, description="of the distance")

    def build(self, train: TrainTargets) -> LossModule:
        return Chord(self.power)

class Angle(LossModule):
    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor) -> LossOutput:
        cosine = (unit(predictions) * unit(targets)).sum(dim=-1)
        angle = torch.arccos(cosine.clamp(-0.999999, 0.999999))
        return LossOutput(angle.pow(self.power).mean(), {"angle": angle.mean().detach()})

class Chord(Angle):
    def forward(self, predictions: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor) -> LossOutput:
        distance = (unit(predictions) - unit(targets)).square().sum(dim=-1).add(1e-6).sqrt()
        return LossOutput(distance.pow(self.power).mean(), {"chord": distance.mean().detach()})
'''

ENTRY_POINT = """
[losstune.losses]
angle = acme.loss:AngleConfig
"""

SPACE = """
loss_fn: {loss_fn}
space:
  power: {{low: 0.5, high: 2.0}}
  lr: {{low: 1.0e-3, high: 1.0e-2, log: true}}
  model.channels: {{choices: [4, 8, 16]}}
  model.pool: {{choices: [mean, max]}}
  model.depth: {{low: 1, high: 2, int: true}}
fixed: {{model.factory: acme.model:Convolutions}}
study: {{max_epochs: 6}}
"""


LOSSES = {"angle": "angle", "chord": "acme.loss:ChordConfig"}
"""One of the package's two losses is registered, the other is named by its path."""


class Workplace:
    """Somebody's folder, and their package beside it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "work"
        self._packages = root / "packages"
        self.folder.mkdir()
        own = {"__init__.py": "", "data.py": DATA, "model.py": MODEL, "loss.py": LOSS}
        _write(self._packages / "acme", own)
        metadata = "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n"
        _write(self._packages / "acme-1.0.dist-info", {"METADATA": metadata, "entry_points.txt": ENTRY_POINT})
        _write(self.folder, {f"{loss}.yaml": SPACE.format(loss_fn=loss_fn) for loss, loss_fn in LOSSES.items()})

    def losstune(self, *arguments: object) -> str:
        """What a command printed; it has to succeed, and to say nothing that looks like a crash."""
        path = os.pathsep.join(filter(None, [str(self._packages), os.environ.get("PYTHONPATH")]))
        ended = subprocess.run(
            [str(Path(sys.executable).with_name("losstune")), *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"losstune {arguments}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended.stdout


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_a_users_package_is_tuned_confirmed_and_used(tmp_path: Path) -> None:
    work = Workplace(tmp_path)
    own = ("--data", "acme.data:signals")

    assert "model.channels" in work.losstune("check", "angle.yaml", "chord.yaml", *own)
    work.losstune("launch", "angle.yaml", "chord.yaml", *own, "--study", "own", "--trials", 4)
    status = json.loads(work.losstune("status", "own", "--json"))
    assert list(status["losses"]) == ["angle", "chord"]

    work.losstune("confirm", "own", "--top", 1, "--seeds", 2)
    compared = json.loads(work.losstune("compare", "own", "--json"))
    picks = {row["loss_fn"]: row for row in compared["rows"] if row["role"] == "pick"}
    chance = next(row for row in compared["rows"] if row["name"] == "chance")
    assert set(picks) == {"angle", "chord"}
    for row in picks.values():
        assert row["test"]["cosine_sim"]["value"] > chance["test"]["cosine_sim"]["value"] + 0.2

    work.losstune("report", "own", "--output", "report.html")
    assert "angle" in (work.folder / "report.html").read_text()

    for loss, loss_fn in LOSSES.items():
        work.losstune("export", "own", "--loss_fn", loss, "--output", "best.yaml")
        settings = yaml.safe_load((work.folder / "best.yaml").read_text())
        assert settings["loss_fn"] == loss_fn
    assert settings["model"]["factory"] == "acme.model:Convolutions"
    assert settings["model"]["channels"] in (4, 8, 16)
    assert 0.5 <= settings["power"] <= 2

    work.losstune("train", "--config", "best.yaml", "--output_dir", "final", "--test")
    work.losstune("predict", "--checkpoint", "final/best.pt", *own, "--output", "predictions.npy")
    predictions = np.load(work.folder / "predictions.npy")
    assert predictions.shape == (600, 6)
    assert np.isfinite(predictions).all()
    assert predictions.std(axis=0).min() > 0.05
