"""The runs of a confirmation: one setting with one fresh seed, what is on disk of it and how it ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import make_folder, with_crc, without_crc
from losstune.trainer.run.history import End, read_whole_lines
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.arms import CONFIRM, Arm, runs_folder
from losstune.tuning.confirm.looks import Decided, Known, decided
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.study import Study

RESULT_FILE = "result.json"
RunEnd = Literal[End, "failed"]


class RunResult(BaseModel):
    """How one run of a confirmation ended.

    Attributes:
        best: the best validation objective of its epochs, None if it never had one.
        whole: of that epoch on all validation rows, where epochs were scored on a sample; None until it is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    end: RunEnd
    reason: str
    epochs: int
    best: float | None
    best_epoch: int
    seconds: float
    started: float
    finished: float
    whole: float | None = None


@dataclass(frozen=True)
class ConfirmRun:
    """One arm with one of the fresh seeds."""

    study: Study
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """``infonce-0007/seed-03``, also the name of its run in MLflow."""
        return f"{self.arm.name}/seed-{self.seed:02d}"

    @property
    def folder(self) -> Path:
        """Where its files are, absolute."""
        return runs_folder(self.study, self.arm.name) / f"seed-{self.seed:02d}"

    @property
    def settings(self) -> dict[str, Any]:
        """Flat training settings, complete, with the data where the study has it now."""
        training, split = confirm_seeds(self.study.spec.settings, self.seed)
        return {**self.arm.settings, **self.study.data_settings, "seed": training, "split_seed": split}

    def result(self) -> RunResult | None:
        """How it ended, None before that."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        content = without_crc(path.read_bytes())
        if content is None:
            raise UserError(f"{path}: damaged, its checksum does not match; remove it, and confirm again")
        return RunResult.model_validate_json(content)

    @property
    def is_to_be_trained(self) -> bool:
        """Whether it has no end yet, or one that was not its settings' doing: what failed is trained again."""
        result = self.result()
        return result is None or result.end == "failed"

    @property
    def is_sampled(self) -> bool:
        """Whether its epochs are scored on a sample of the validation rows."""
        return bool(self.arm.settings.get("eval_queries", "all") != "all")

    @property
    def is_to_be_scored(self) -> bool:
        """Whether it has ended with a value, and that is still the sample's."""
        result = self.result()
        return result is not None and result.best is not None and self.value(result) is None

    def value(self, result: RunResult) -> float | None:
        """The validation objective that stands for it, on all rows; None where there is none, or none yet."""
        return result.whole if self.is_sampled else result.best

    def scored(self, whole: float) -> None:
        """Keep how its best epoch does on all validation rows."""
        result = self.result()
        assert result is not None
        self.finish(result.model_copy(update={"whole": whole}))

    def finish(self, result: RunResult) -> None:
        """Keep how it ended."""
        make_folder(self.folder)
        self.study.files.write(self.folder / RESULT_FILE, with_crc(result.model_dump_json()).encode())


def began(run: ConfirmRun, result: RunResult | None) -> float | None:
    """When a run's first epoch began, in Unix seconds; None where it has not trained one yet."""
    if result is not None:
        return result.started
    records, _ = read_whole_lines(run.folder / HISTORY_FILE)
    return records[0]["time"] - records[0]["seconds"] if records else None


def runs_of(study: Study, plan: Plan, *, again: bool = False) -> list[ConfirmRun]:
    """All runs of a plan: seed by seed, so that what is there early can be compared; none that the looks spare.

    Args:
        again: as the looks are before what failed is trained again.
    """
    stops = looked(plan, ended_values(study, plan, again=again)).stops if plan.early else {}
    most = {arm.name: stops[arm.name].seeds if arm.name in stops else plan.seeds for arm in plan.arms}
    return [ConfirmRun(study, arm, seed) for seed in range(plan.seeds) for arm in plan.arms if seed < most[arm.name]]


def failed_runs(study: Study, plan: Plan) -> list[ConfirmRun]:
    """Those that ended for another reason than what their settings made of the training."""
    return [run for run in runs_of(study, plan) if run.result() is not None and run.is_to_be_trained]


def runs_by_arm(study: Study, plan: Plan) -> dict[str, list[ConfirmRun]]:
    """The same by arm, each in the order of its seeds."""
    found: dict[str, list[ConfirmRun]] = {}
    for run in runs_of(study, plan):
        found.setdefault(run.arm.name, []).append(run)
    return found


def ended_values(study: Study, plan: Plan, *, again: bool = False) -> dict[str, dict[int, float | None]]:
    """What the looks look at: the best objective of each run that has ended, by arm and seed.

    Where epochs are scored on a sample it is the sample's: that is known as soon as a run has ended, and stays.

    Args:
        again: without the runs that failed, which are trained again.
    """
    found: dict[str, dict[int, float | None]] = {arm.name: {} for arm in plan.arms}
    for run in (ConfirmRun(study, arm, seed) for arm in plan.arms for seed in range(plan.seeds)):
        if (result := run.result()) is not None and not (again and result.end == "failed"):
            found[run.arm.name][run.seed] = result.best
    return found


def looked(plan: Plan, known: Known) -> Decided:
    """What the looks of a plan have decided; nothing where it has none."""
    if not plan.early:
        return Decided({}, plan.seeds)
    starts = {arm.name for arm in plan.arms if arm.role == "start"}
    return decided(known, plan.seeds, plan.margin or 0.0, starts)


def confirm_seeds(settings: StudySettings, index: int) -> tuple[int, int]:
    """Seed of training and of the split for the index-th fresh seed; the same for all losses."""
    return derived_seed(settings.seed, CONFIRM, index, "train"), derived_seed(settings.seed, CONFIRM, index, "split")
