"""Spaces, storages and finished trials for the tests of studies."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.tuning.space.reader import read_space
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.trial import Ending, TrialView

optuna.logging.set_verbosity(optuna.logging.ERROR)

FILE = "space.yaml"

CONTINUOUS = """
    loss_fn: mse
    space:
      lr: {low: 1.0e-4, high: 1.0e-1, log: true}
      model.dropout: {low: 0.0, high: 0.9}
"""
DISCRETE = """
    loss_fn: mse
    space:
      batch_size: {choices: [16, 32, 64]}
      model.dropout: {low: 0.1, high: 0.4, step: 0.1}
"""
CONDITIONAL = """
    loss_fn: infonce
    start:
      - {temperature: 0.07, schedule: constant}
      - {temperature: 0.05, schedule: cosine, warmup_epochs: 2}
    space:
      temperature: {low: 0.01, high: 1.0, log: true}
      schedule: {choices: [constant, cosine]}
      warmup_epochs: {low: 1, high: 5, int: true, when: {schedule: cosine}}
"""


def space_of(text: str, file: str = FILE) -> SearchSpace:
    return read_space(parse_yaml(dedent(text), file))


def settings_of(**given: Any) -> StudySettings:
    return StudySettings.model_validate(given)


def sqlite(folder: Path) -> BaseStorage:
    return optuna.storages.get_storage(f"sqlite:///{folder / 'optuna.db'}")


def stored(folder: Path, loss_fn: str) -> list[FrozenTrial]:
    """The trials of a loss as anyone who opens the file with Optuna sees them."""
    return optuna.load_study(study_name=loss_fn, storage=f"sqlite:///{folder / 'optuna.db'}").trials


def new_trials(space: SearchSpace, storage: BaseStorage | None = None) -> LossTrials:
    return LossTrials(storage or InMemoryStorage(), space.name, space)


def facts(trial: TrialView) -> tuple[Any, ...]:
    """All that a trial is but its times, with NaN equal to NaN."""
    return trial.name, trial.state, trial.point, repr(sorted(trial.rungs.items())), trial.ending


def used_up(best: float | None = 0.5, epochs: int = 27, best_epoch: int = 20) -> Ending:
    return Ending("complete", "used its epochs", epochs, best, best_epoch)


def cut(best: float, epochs: int) -> Ending:
    return Ending("pruned", f"cut at rung {epochs}", epochs, best, epochs)


def diverged(epochs: int, best: float | None = None) -> Ending:
    return Ending("pruned", "diverged", epochs, best, 1 if best is not None else 0)


def failed(epochs: int = 0) -> Ending:
    return Ending("failed", "its worker died", epochs, None, 0)


class PowerCutError(BaseException):
    """In place of kill -9: nothing of the product's may catch it."""


def cut_power_at(storage: BaseStorage, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(storage, call, fail)


def search(trials: LossTrials, propose: Callable[[LossTrials], Point | None], judge: Callable[[Point], float]) -> None:
    """Propose, train and judge until there are 60 trials or no proposal is left."""
    while len(trials) < 60 and (point := propose(trials)) is not None:
        trials.end(trials.add(point, seed=0), used_up(judge(point)))
