"""A user's package with a loss of its own, as pip would leave it: modules, and metadata beside them."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

TILTED = '''
    """Cosine distance to a power: rows that are far off weigh more."""

    from typing import ClassVar

    from pydantic import Field
    from torch import Tensor

    from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets, unit


    class TiltedConfig(LossConfig):
        """Mean of (1 − cosine) ** gamma."""

        name: ClassVar[str] = "tilted"
        smallest_batch: ClassVar[int] = 8

        gamma: float = Field(2.0, ge=0.5, le=5, description="power of the distance")

        def build(self, train: TrainTargets) -> LossModule:
            return TiltedLoss(self.gamma)


    class TiltedLoss(LossModule):
        def __init__(self, gamma: float) -> None:
            super().__init__()
            self.gamma = gamma

        def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
            distance = (1 - (unit(predictions) * unit(targets)).sum(dim=1)).clamp_min(1e-6)
            return LossOutput((distance**self.gamma).mean(), {"farthest_row": distance.max()})
'''
"""One loss in one file, the shortest there is."""


def install(folder: Path, package: str, modules: Mapping[str, str], losses: Mapping[str, str]) -> None:
    """Lay out an installed package, version 1.0.

    Args:
        package: name of the distribution, and of the folder of its modules.
        modules: source text by the module's name within the package.
        losses: value by name of each entry point of ours.
    """
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    for name, text in modules.items():
        (folder / package / f"{name}.py").write_text(dedent(text))
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in losses.items()]
    (metadata / "entry_points.txt").write_text("[losstune.losses]\n" + "".join(lines))
