from losstune.trainer.base.errors import LosstuneError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.losses import (
    Gallery,
    LossConfig,
    LossModule,
    LossOutput,
    TrainTargets,
    centered,
    cosine_distance,
    unit,
)
from losstune.trainer.run.program import score, train
from losstune.trainer.run.trained_model import TrainedModel, load_model
from losstune.trainer.run.whole_run import Run
from losstune.tuning.commands.comparison_view import ComparisonView
from losstune.tuning.commands.program import compare, confirm, export, launch, open_study, report, studies
from losstune.tuning.commands.study_view import BestTrial, StudyView

__version__: str

__all__ = [
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
