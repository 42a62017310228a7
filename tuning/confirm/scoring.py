"""Picks each loss's setting on validation means, and scores the picks on the test split, once."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import with_crc, without_crc
from losstune.trainer.config.factory import FACTORY
from losstune.trainer.data.columns import column, mean_of
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import SplitTensors, split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.predict import load_model
from losstune.trainer.run.run_dir import BEST_FILE, HISTORY_FILE, read_history
from losstune.trainer.score.geometry import geometry, parting
from losstune.trainer.score.metrics import row_scores
from losstune.tuning.confirm.baselines import baseline_scores
from losstune.tuning.confirm.plan import (
    RESULTS_FILE,
    SCORES_FILE,
    Arm,
    ConfirmRun,
    Plan,
    RunResult,
    confirm_seeds,
    latest_finished,
    plan_folder,
)
from losstune.tuning.study.study import Study

Scores = dict[str, npt.NDArray[np.float64]]
"""Test scores of one arm by metric, each (S, T): seeds × test targets, a target's rows averaged."""

ArmRole = Literal["candidate", "start", "baseline"]


class ArmResult(BaseModel):
    """What a confirmation found of one arm; lists have one entry a seed.

    Attributes:
        name, role: as in the plan; a baseline's role is ``baseline`` and its loss None.
        validation: best validation objective, None where the run failed or never had one.
        epochs, seconds: spent on all seeds together.
        geometry: signs of a collapsed or hubby embedding on the test split; empty for what was not scored there.
        partings: what is to be said where validation loss and objective part ways.
        output_dim: min(N, d), the highest effective rank there could be on the test split.
        note: anything else worth saying, as a baseline's regularisation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
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

    @property
    def validation_mean(self) -> float:
        """Mean over the seeds, −inf if one of them has no value."""
        values = [value for value in self.validation if value is not None]
        return fmean(values) if values and len(values) == len(self.validation) else -math.inf


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
        return max(self.picks, key=lambda loss: self.arm(self.picks[loss]).validation_mean)

    def best_seed(self, name: str) -> int:
        """The seed with which an arm did best on validation."""
        values = [-math.inf if value is None else value for value in self.arm(name).validation]
        return values.index(max(values))


@dataclass(frozen=True)
class _Scored:
    test: Mapping[str, Tensor]
    geometry: dict[str, float]


def score_plan(study: Study, plan: Plan, pairs: Pairs, test_uses_before: int) -> Results:
    """Pick on validation, score on test, and keep both.

    Raises:
        UserError: every setting of every loss failed, or the test split has not two targets.
    """
    arms = {arm.name: _trained(study, plan, arm) for arm in plan.arms}
    picks = pick(plan, arms)
    if not picks:
        raise UserError(f"confirmation {plan.number}: every setting of every loss failed or diverged with some seed")
    split = _test_split(study, plan, pairs)
    scores: dict[str, Scores] = {}
    wanted = {*picks.values(), *(plan.starts[loss] for loss in plan.losses)}
    for arm in plan.arms:
        if arm.name in wanted and arms[arm.name].validation_mean > -math.inf:
            runs = [ConfirmRun(study, arm, seed) for seed in range(plan.seeds)]
            scored = [_score_run(run, pairs, split) for run in runs]
            scores[arm.name] = _by_target([one.test for one in scored], split)
            signs = {name: [one.geometry[name] for one in scored] for name in scored[0].geometry}
            arms[arm.name] = arms[arm.name].model_copy(
                update={"geometry": signs, "output_dim": min(split.targets.shape)}
            )
    baselines, baseline_arms = _baselines(study, plan, pairs, split)
    results = Results(
        picks=picks,
        arms=[*arms.values(), *baseline_arms],
        targets=len(split.gallery),
        test_uses_before=test_uses_before,
    )
    _save(study, plan, results, scores | baselines)
    return results


def pick(plan: Plan, arms: Mapping[str, ArmResult]) -> dict[str, str]:
    """Each loss's candidate with the highest validation mean; of equal ones the search's better one."""
    picks = {}
    for loss_fn in plan.losses:
        candidates = [arms[arm.name] for arm in plan.candidates(loss_fn)]
        best = max(candidates, key=lambda arm: arm.validation_mean)
        if best.validation_mean > -math.inf:
            picks[loss_fn] = best.name
    return picks


def confirmed_run(study: Study, loss_fn: str | None) -> ConfirmRun | None:
    """The run that stands for a loss, or for the winner: its pick, with the seed that did best on validation.

    None if nothing is confirmed, or this loss failed.
    """
    plan = latest_finished(study)
    if plan is None:
        return None
    results, _ = load_results(study, plan)
    name = results.picks.get(loss_fn or results.winner)
    if name is None:
        return None
    return ConfirmRun(study, next(arm for arm in plan.arms if arm.name == name), results.best_seed(name))


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


def _trained(study: Study, plan: Plan, arm: Arm) -> ArmResult:
    runs = [ConfirmRun(study, arm, seed) for seed in range(plan.seeds)]
    results = [_finished(run) for run in runs]
    objective = study.spec.settings.objective
    said = (parting(read_history(run.folder / HISTORY_FILE), objective) for run in runs)
    return ArmResult(
        name=arm.name,
        loss_fn=arm.loss_fn,
        role=arm.role,
        search_value=arm.search_value,
        validation=[result.best for result in results],
        ends=[result.end if result.end != "failed" else result.reason for result in results],
        epochs=sum(result.epochs for result in results),
        seconds=sum(result.seconds for result in results),
        partings=[f"{run.name}: {text}" for run, text in zip(runs, said, strict=True) if text],
    )


def _finished(run: ConfirmRun) -> RunResult:
    result = run.result()
    if result is None:
        raise UserError(f"{run.folder}: this run has not ended")
    return result


def _test_split(study: Study, plan: Plan, pairs: Pairs) -> SplitTensors:
    """The test rows, the same whatever the seed."""
    rows = split_rows(pairs, confirm_seeds(study.spec.settings, 0)[1]).test
    split = split_tensors(pairs, rows, torch.device("cpu"))
    if len(split.gallery) < 2:
        raise UserError(
            f"{pairs.source}: the test split has {len(split.gallery)} distinct targets, at least 2 are needed"
        )
    return split


def _score_run(run: ConfirmRun, pairs: Pairs, split: SplitTensors) -> _Scored:
    with run.study.files.borrowed(run.folder / BEST_FILE) as checkpoint:
        trained = load_model(checkpoint)
    predictions = trained.predict(split.inputs).cpu()
    center = None
    if trained.config.center:
        train = split_rows(pairs, trained.config.split_seed).train
        center = mean_of(column(pairs.targets, train, torch.device("cpu"))).float()
    test = row_scores(predictions, split.targets, split.gallery, split.positive, center)
    return _Scored(test, geometry(predictions, split.targets, split.gallery, center))


def _baselines(
    study: Study, plan: Plan, pairs: Pairs, split: SplitTensors
) -> tuple[dict[str, Scores], list[ArmResult]]:
    """What any model must beat, on the same splits."""
    settings = study.spec.settings
    seeds = [confirm_seeds(settings, index) for index in range(plan.seeds)]
    model = _own_model(plan)
    found = [baseline_scores(pairs, split_seed, seed, settings.objective, model=model) for seed, split_seed in seeds]
    scores, arms = {}, []
    for name in found[0]:
        own = [one[name] for one in found]
        scores[str(name)] = _by_target([one.test for one in own], split)
        arms.append(
            ArmResult(
                name=str(name),
                loss_fn=None,
                role="baseline",
                validation=[one.validation for one in own],
                geometry={sign: [one.geometry[sign] for one in own] for sign in own[0].geometry},
                note=own[0].note,
            )
        )
    return scores, arms


def _own_model(plan: Plan) -> dict[str, Any] | None:
    """Settings of the user's own model, as the first candidate has it; None where all have the built-in encoder."""
    settings = next((arm.settings for arm in plan.arms if FACTORY in arm.settings), {})
    return {n: value for n, value in settings.items() if n.startswith("model.") or n == "eval_batch"} or None


def _by_target(scored: list[Mapping[str, Tensor]], split: SplitTensors) -> Scores:
    """(S, N) scores of rows → (S, T) means of each target's rows: every target counts once."""
    count = torch.bincount(split.positive, minlength=len(split.gallery)).double()

    def means(rows: Tensor) -> npt.NDArray[np.float64]:
        sums = torch.zeros(len(split.gallery), dtype=torch.float64).index_add_(0, split.positive, rows.double().cpu())
        return np.asarray(sums / count)

    return {metric: np.stack([means(one[metric]) for one in scored]) for metric in scored[0]}


def _save(study: Study, plan: Plan, results: Results, scores: Mapping[str, Scores]) -> None:
    """Scores first: results on disk mean that all is there."""
    folder = plan_folder(study, plan.number)
    buffer = io.BytesIO()
    arrays = {f"{arm}:{metric}": values for arm, own in scores.items() for metric, values in own.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    study.files.write(folder / SCORES_FILE, buffer.getvalue())
    study.files.write(folder / RESULTS_FILE, with_crc(results.model_dump_json()).encode())
