"""A confirmation: which settings are trained again with which seeds, and what is on disk of it.

    studies/NAME/confirm/runs/ARM/seed-00/   config.yaml, history.jsonl, best.pt, last.pt, result.json
    studies/NAME/confirm/1/plan.yaml         what the first confirmation compares
    studies/NAME/confirm/1/results.json      what it found; written once, after the test split was scored
    studies/NAME/confirm/1/scores.npz        every arm's test scores, seeds × test targets
    test_uses.jsonl                          beside studies/: which confirmations looked at the test split of which data

Runs belong to the study, not to one confirmation: a later one with more seeds trains only what is missing.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import check_seal, make_folder, sealed
from losstune.trainer.base.yaml_file import dump_yaml, read_yaml
from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.config.matryoshka import trained_dims
from losstune.trainer.config.setting_errors import describe
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.layout import CONFIG_FILE
from losstune.tuning.confirm.test_split_uses import Use, split_uses
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, ranked
from losstune.tuning.study.versions import versions_now

CONFIRM = "confirm"
PLAN_FILE = "plan.yaml"
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.npz"

Role = Literal["candidate", "start"]


def with_loss(kept: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an arm, with the name of its loss: in an earlier release that was the loss function's."""
    return {"loss": kept["loss_fn"], **kept} if "loss_fn" in kept else kept


class Arm(BaseModel):
    """One setting that is trained with every seed.

    Attributes:
        name: the trial it comes from, ``infonce-0007``, or ``infonce-start``.
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


class Plan(BaseModel):
    """What a confirmation compares; frozen when it starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    created: str
    top: int
    seeds: int
    split_given: bool
    arms: list[Arm]
    starts: dict[str, str]
    """The arm that stands for each loss's untuned setting; a candidate where the search ended where it began."""
    versions: dict[str, str]
    changes: list[dict[str, str]] = []
    """What other versions it went on with."""
    margin: float | None = None
    """Where a setting was to be added for being small: how much worse than the best of the search it might be."""
    early: bool = False
    """Whether settings that have clearly lost in validation get no more seeds."""

    def candidates(self, loss: str) -> list[Arm]:
        """The settings of a loss that the pick is made from, best of the search first."""
        return [arm for arm in self.arms if arm.loss == loss and arm.role == "candidate"]

    @property
    def options(self) -> tuple[str, ...]:
        """Those of the command that it was made by, and that goes on with it."""
        small = () if self.margin is None else ("--smallest", "--margin", f"{self.margin:g}")
        return ("--top", str(self.top), "--seeds", str(self.seeds), *small, *(("--early",) if self.early else ()))

    @property
    def created_at(self) -> float:
        """When it was made, in Unix seconds."""
        return datetime.fromisoformat(self.created).timestamp()

    @property
    def losses(self) -> list[str]:
        """The losses compared, in the study's order."""
        return list(self.starts)


def confirm_folder(study: Study) -> Path:
    """``studies/NAME/confirm``."""
    return study.folder / CONFIRM


def plan_folder(study: Study, number: int) -> Path:
    """Folder of one confirmation."""
    return confirm_folder(study) / str(number)


def make_plan(study: Study, number: int, top: int, seeds: int, threads: int, *, split_given: bool) -> Plan:
    """The best ``top`` settings of each loss, and each loss's untuned start.

    Raises:
        UserError: a loss has trials to come and no value yet, or no loss has a value.
    """
    arms: list[Arm] = []
    starts: dict[str, str] = {}
    for loss, trials in study.trials().items():
        best = ranked(trials)[:top]
        if not best and (not trials or any(trial.ending is None for trial in trials)):
            raise UserError(f"study {study.spec.name!r}: {loss} has no finished trial with a value to confirm yet")
        if not best:  # every trial diverged or failed: the others can be compared without it
            continue
        candidates = [_candidate(study, trial, threads) for trial in best]
        start = _start(study, loss, candidates[0], threads)
        same = next((arm for arm in candidates if arm.settings == start.settings), None)
        starts[loss] = (same or start).name
        arms += candidates if same else [*candidates, start]
    if not arms:
        raise UserError(f"study {study.spec.name!r}: no loss has a trial with a value to confirm")
    return Plan(
        number=number,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        top=top,
        seeds=seeds,
        split_given=split_given,
        arms=arms,
        starts=starts,
        versions=versions_now(),
    )


def with_smallest(study: Study, plan: Plan, smallest: TrialView | None, margin: float, threads: int) -> Plan:
    """The plan with one more candidate, the trial that was sought for being small, if no arm has its settings yet."""
    added = [_candidate(study, smallest, threads)] if smallest is not None else []
    known = [arm.settings for arm in plan.arms]
    new = [arm for arm in added if arm.settings not in known]
    return plan.model_copy(update={"arms": [*plan.arms, *new], "margin": margin})


def plans(study: Study) -> Iterator[Plan]:
    """All confirmations of a study, the first one first."""
    numbers = (int(path.parent.name) for path in confirm_folder(study).glob(f"[0-9]*/{PLAN_FILE}"))
    for number in sorted(numbers):
        path = plan_folder(study, number) / PLAN_FILE
        check_seal(path)
        try:
            yield Plan.model_validate(read_yaml(path).data)
        except ValidationError as error:
            raise UserError(f"{path}: {describe(error)}") from None


def save_plan(study: Study, plan: Plan) -> None:
    """Write a new plan."""
    folder = plan_folder(study, plan.number)
    make_folder(folder)
    study.files.write(folder / PLAN_FILE, sealed(dump_yaml(plan.model_dump())).encode())


def is_finished(study: Study, plan: Plan) -> bool:
    """Whether the test split was scored and the results are kept."""
    return (plan_folder(study, plan.number) / RESULTS_FILE).exists()


def latest_finished(study: Study) -> Plan | None:
    """The newest confirmation that has results."""
    return next((plan for plan in reversed(list(plans(study))) if is_finished(study, plan)), None)


def record_test_use(study: Study, plan: Plan) -> int:
    """Count this confirmation as one use of the test split of this data; returns how often it was used before.

    All studies at one place are counted together, by the data's content. Counting twice changes nothing.
    """
    return split_uses(study.home).record(study.spec.data_digest, _use(study, plan))


def saw_test_rows(study: Study, plan: Plan) -> bool:
    """Whether this confirmation has begun to score the test split."""
    return _use(study, plan) in split_uses(study.home).of(study.spec.data_digest)


def _use(study: Study, plan: Plan) -> Use:
    return {"study": study.spec.name, "created": study.spec.created, "confirmation": plan.number}


def _candidate(study: Study, trial: TrialView, threads: int) -> Arm:
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


def _start(study: Study, loss: str, like: Arm, threads: int) -> Arm:
    """The loss's defaults, which are the guide's recommendation, with what the space fixes and the study manages.

    An option for which the user's model has no default stays as in ``like``, a trial of the same loss.
    """
    space = study.spec.search_spaces()[loss]
    fixed = {**{name: like.settings[name] for name in (*space.required, "device")}, **space.fixed}
    managed = study.spec.settings.training(study.data_source, threads, study.spec.columns)
    own = _seedless(TrainConfig.from_flat({"loss_fn": space.reference, **fixed, **managed}))
    loss_fn = study.spec.loss_fns[loss]
    return Arm(name=f"{loss}-start", loss=loss, loss_fn=loss_fn, role="start", settings=own, search_value=None)


def _seedless(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in config.flat().items() if name not in ("seed", "split_seed")}
