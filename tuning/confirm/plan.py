"""A confirmation: which settings are trained again with which seeds, and what is on disk of it.

    studies/NAME/confirm/1/plan.yaml         what the first confirmation compares
    studies/NAME/confirm/1/results.json      what it found; written once, after the test split was scored
    studies/NAME/confirm/1/scores.npz        every arm's test scores, seeds × test targets
    test_uses.jsonl                          beside studies/: which confirmations looked at the test split of which data

The runs themselves are beside them, of all confirmations: :mod:`losstune.tuning.confirm.arms`.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import check_seal, make_folder, sealed
from losstune.trainer.base.yaml_file import dump_yaml, read_yaml
from losstune.trainer.config.setting_errors import describe
from losstune.tuning.confirm.arms import Arm, candidate, confirm_folder, untuned_start
from losstune.tuning.confirm.test_split_uses import Use, split_uses
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, ranked
from losstune.tuning.study.versions import versions_now

PLAN_FILE = "plan.yaml"
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.npz"


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

    def compares_now(self, study: Study) -> dict[str, Arm]:
        """Its settings by name, as they are now: in which order a plan has them is nothing to what it compares."""
        return {arm.name: arm.as_now(study) for arm in self.arms}

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
        candidates = [candidate(study, trial, threads) for trial in best]
        start = untuned_start(study, loss, candidates[0], threads)
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
    added = [candidate(study, smallest, threads)] if smallest is not None else []
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
