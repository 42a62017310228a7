"""Which loss, with which settings, on your data: by how much, how sure, and at what price.

The names in ``__all__`` are what programs and notebooks use; docs/python.md shows them at work. Each is loaded when it
is asked for: ``import losstune`` by itself loads nothing. Their types stand in ``__init__.pyi``.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_HOMES = {
    "BestTrial": "tuning.commands.study_view",
    "ComparisonView": "tuning.commands.comparison_view",
    "Gallery": "trainer.losses",
    "LossConfig": "trainer.losses",
    "LossModule": "trainer.losses",
    "LossOutput": "trainer.losses",
    "LosstuneError": "trainer.base.errors",
    "Pairs": "trainer.data.pairs",
    "Run": "trainer.run.whole_run",
    "StudyView": "tuning.commands.study_view",
    "TrainConfig": "trainer.config.train_config",
    "TrainTargets": "trainer.losses",
    "TrainedModel": "trainer.run.trained_model",
    "centered": "trainer.losses",
    "compare": "tuning.commands.program",
    "confirm": "tuning.commands.program",
    "cosine_distance": "trainer.losses",
    "export": "tuning.commands.program",
    "launch": "tuning.commands.program",
    "load_model": "trainer.run.trained_model",
    "load_pairs": "trainer.data.pairs",
    "open_study": "tuning.commands.program",
    "report": "tuning.commands.program",
    "score": "trainer.run.program",
    "split_rows": "trainer.data.splits",
    "studies": "tuning.commands.program",
    "train": "trainer.run.program",
    "unit": "trainer.losses",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Load a name of the face."""
    if name == "__version__":
        return version("losstune")
    if name not in _HOMES:
        raise AttributeError(f"module 'losstune' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"losstune.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    """The face, for who looks for a name."""
    return sorted(__all__)
