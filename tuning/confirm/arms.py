"""The settings that a confirmation trains: candidates of the search, and each loss's untuned start.

    studies/NAME/confirm/runs/ARM/seed-00/   config.yaml, history.jsonl, best.pt, last.pt, result.json

Runs belong to the study, not to one confirmation: a later one with more seeds trains only what is missing. So a name
stands for one setting for good. A trial's settings never change; those of an untuned start do where its space has
grown, or the user's model takes an option from today's best trial, and what has others then has another name.
"""

import itertools
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.config.matryoshka import trained_dims
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.layout import CONFIG_FILE
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView

CONFIRM = "confirm"
_OF_THE_MACHINE = ("threads", "device")
"""Settings that a run may differ in and still be of an arm: where it was trained."""

Role = Literal["candidate", "start"]


def with_loss(kept: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an arm, with the name of its loss: in an earlier release that was the loss function's."""
    return {"loss": kept["loss_fn"], **kept} if "loss_fn" in kept else kept


class Arm(BaseModel):
    """One setting that is trained with every seed.

    Attributes:
        name: the trial it comes from, ``infonce-0007``, or ``infonce-start``, and ``infonce-start-2`` for later ones.
        loss: by its name in the study. loss_fn: the loss function.
        role: a candidate of the search, or the guide's recommended start, untuned.
        settings: flat training settings, complete but for the seeds.
        search_value: the trial's best value in the search; None for a start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    loss: str
    loss_fn: str
    role: Role
    settings: dict[str, Any]
    search_value: float | None

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, data: dict[str, Any]) -> dict[str, Any]:
        return with_loss(data)

    def as_now(self, study: Study) -> "Arm":
        """With settings that are younger than it at their defaults, and the data where the study has it now."""
        settings = self.settings | study.data_settings
        return self.model_copy(update={"settings": _seedless(TrainConfig.from_flat(settings))})

    def shorter(self, output_dim: int) -> tuple[int, ...]:
        """Dimensions of the prefixes of its embeddings that are trained for; none where only the whole is."""
        return trained_dims(TrainConfig.from_flat(self.settings).prefixes, output_dim)[:-1]


def confirm_folder(study: Study) -> Path:
    """``studies/NAME/confirm``."""
    return study.folder / CONFIRM


def runs_folder(study: Study, name: str) -> Path:
    """Where the runs of the arm of this name are, one folder a seed."""
    return confirm_folder(study) / "runs" / name


def candidate(study: Study, trial: TrialView, threads: int) -> Arm:
    """A trial of the search as an arm."""
    # Through the config, so that settings younger than the study stand at their defaults.
    config = TrainConfig.from_flat(read_run_settings(study.trials_folder / trial.name / CONFIG_FILE))
    own = _seedless(config) | {"threads": threads} | study.data_settings
    return Arm(
        name=trial.name,
        loss=trial.loss,
        loss_fn=study.spec.loss_fns[trial.loss],
        role="candidate",
        settings=own,
        search_value=trial.rank_value,
    )


def untuned_start(study: Study, loss: str, like: Arm, threads: int) -> Arm:
    """The loss's defaults, which are the guide's recommendation, with what the space fixes and the study manages.

    An option for which the user's model has no default stays as in ``like``, a trial of the same loss.

    Raises:
        UserError: the config of a run of an earlier start is damaged.
    """
    space = study.spec.search_spaces()[loss]
    fixed = {**{name: like.settings[name] for name in (*space.required, "device")}, **space.fixed}
    managed = study.spec.settings.training(study.data_source, threads, study.spec.columns)
    own = _seedless(TrainConfig.from_flat({"loss_fn": space.reference, **fixed, **managed}))
    return Arm(
        name=_name_of_its_own(study, f"{loss}-start", own),
        loss=loss,
        loss_fn=study.spec.loss_fns[loss],
        role="start",
        settings=own,
        search_value=None,
    )


def _name_of_its_own(study: Study, name: str, settings: dict[str, Any]) -> str:
    """The name, or the first with a number after it, under which no run has other settings.

    The runs are asked, not the plans: one that was not finished gives way to the next and leaves its runs.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    wanted = _of_the_model(settings)
    return next(own for own in names if all(found == wanted for found in _trained_with(study, own)))


def _trained_with(study: Study, name: str) -> list[dict[str, Any]]:
    configs = ((path, read_run_settings(path)) for path in sorted(runs_folder(study, name).glob(f"*/{CONFIG_FILE}")))
    found = (TrainConfig.from_flat(own | study.data_settings, where=str(path)) for path, own in configs)
    return [_of_the_model(_seedless(config)) for config in found]


def _of_the_model(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _OF_THE_MACHINE}


def _seedless(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in config.flat().items() if name not in ("seed", "split_seed")}
