"""What a confirmation found, and how it is kept: every arm's values, the picks, the test scores behind them."""

import io
import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import with_crc, without_crc
from losstune.tuning.confirm.arms import with_loss
from losstune.tuning.confirm.bootstrap import Array
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.confirm.cost import Cost
from losstune.tuning.confirm.plan import RESULTS_FILE, SCORES_FILE, Plan, latest_finished, plan_folder
from losstune.tuning.study.study import Study

Scores = dict[str, npt.NDArray[np.float64]]
"""Test scores of one arm by metric, each (S, T): seeds × test targets, a target's rows averaged; ``dim_8/mrr`` too."""

ArmRole = Literal["candidate", "start", "baseline"]


class ArmResult(BaseModel):
    """What a confirmation found of one arm; lists have one entry a seed.

    Attributes:
        name, loss, loss_fn, role: as in the plan; a baseline's role is ``baseline`` and it has no loss.
        validation: objective of the best epoch on all validation rows, None where the run failed or never had one.
        epochs, seconds: spent on all seeds together.
        geometry: signs of a collapsed or hubby embedding on the test split; empty for what was not scored there.
        partings: what is to be said where validation loss and objective part ways.
        output_dim: min(N, d), the highest effective rank there could be on the test split.
        note: anything else worth saying, as a baseline's regularisation.
        cost: of its model; None for what was not scored on the test split.
        prefixes: as ``validation``, of embeddings cut to so many dimensions; of what has a cost.
        lost_to: an arm that it had clearly lost to in validation, so that it got no more seeds; None where it got all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    loss: str | None
    loss_fn: str | None
    role: ArmRole
    search_value: float | None = None
    validation: list[float | None]
    ends: list[str] = []
    epochs: int = 0
    seconds: float = 0.0
    geometry: dict[str, list[float]] = {}
    partings: list[str] = []
    output_dim: int = 0
    note: str = ""
    cost: Cost | None = None
    prefixes: dict[int, list[float]] = {}
    lost_to: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, data: dict[str, Any]) -> dict[str, Any]:
        return with_loss(data)

    @property
    def validation_mean(self) -> float:
        """Mean over the seeds, −inf if one of them has no value."""
        values = [value for value in self.validation if value is not None]
        return fmean(values) if values and len(values) == len(self.validation) else -math.inf

    @property
    def standing(self) -> tuple[bool, int, float]:
        """Higher is better: to have a value, then more seeds, as what got fewer had clearly lost, then the mean."""
        return self.validation_mean > -math.inf, len(self.validation), self.validation_mean


class Results(BaseModel):
    """What a confirmation found.

    Attributes:
        picks: the arm chosen for each loss, by validation mean; a loss whose every setting failed has none.
        targets: T, distinct targets in the test split.
        test_uses_before: how often confirmations had used this test split before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    picks: dict[str, str]
    arms: list[ArmResult]
    targets: int
    test_uses_before: int

    def arm(self, name: str) -> ArmResult:
        """The arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def winner(self) -> str:
        """The loss whose pick has the highest validation mean; the test split has no say."""
        return max(self.picks, key=lambda loss: self.arm(self.picks[loss]).standing)

    def best_seed(self, name: str) -> int:
        """The seed with which an arm did best on validation."""
        values = [-math.inf if value is None else value for value in self.arm(name).validation]
        return values.index(max(values))


def in_common(a: Array, b: Array) -> tuple[Array, Array]:
    """Scores of two arms (S, T) on the seeds that both were trained with: the first ones of the one that has more."""
    seeds = min(len(a), len(b))
    return a[:seeds], b[:seeds]


def save_results(study: Study, plan: Plan, results: Results, scores: Mapping[str, Scores]) -> None:
    """Keep what a confirmation found; scores first: results on disk mean that all is there."""
    folder = plan_folder(study, plan.number)
    buffer = io.BytesIO()
    arrays = {f"{arm}:{metric}": values for arm, own in scores.items() for metric, values in own.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    study.files.write(folder / SCORES_FILE, buffer.getvalue())
    study.files.write(folder / RESULTS_FILE, with_crc(results.model_dump_json()).encode())


def load_results(study: Study, plan: Plan) -> tuple[Results, dict[str, Scores]]:
    """The kept results of a finished confirmation.

    Raises:
        UserError: they are damaged.
    """
    folder = plan_folder(study, plan.number)
    try:
        content = without_crc((folder / RESULTS_FILE).read_bytes())
        if content is None:
            raise ValueError(f"{RESULTS_FILE} is damaged, its checksum does not match")
        results = Results.model_validate_json(content)
        scores: dict[str, Scores] = {}
        with np.load(folder / SCORES_FILE, allow_pickle=False) as file:
            for key in file.files:
                arm, _, metric = key.rpartition(":")
                scores.setdefault(arm, {})[metric] = file[key]
    except Exception as error:  # a damaged ZIP raises whatever the reader stumbles over
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{folder}: {RESULTS_FILE} or {SCORES_FILE} can not be read ({reason}); "
            f"remove {RESULTS_FILE} there, and confirm again"
        ) from None
    return results, scores


def confirmed_run(study: Study, loss: str | None) -> ConfirmRun | None:
    """The run that stands for a loss, or for the winner: its pick, with the seed that did best on validation.

    None if nothing is confirmed, or this loss failed.
    """
    plan = latest_finished(study)
    if plan is None:
        return None
    results, _ = load_results(study, plan)
    name = results.picks.get(loss or results.winner)
    if name is None:
        return None
    return ConfirmRun(study, next(arm for arm in plan.arms if arm.name == name), results.best_seed(name))
