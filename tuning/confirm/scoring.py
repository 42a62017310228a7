"""Picks each loss's setting on validation means, and scores the picks on the test split, once."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.factory import FACTORY
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import SplitTensors, split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE
from losstune.trainer.score.flags import parting
from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import row_scores
from losstune.trainer.score.prefixes import prefix_scores
from losstune.tuning.confirm.baselines import baseline_scores
from losstune.tuning.confirm.confirm_runs import (
    ConfirmRun,
    RunResult,
    confirm_seeds,
    ended_values,
    looked,
    runs_by_arm,
)
from losstune.tuning.confirm.cost import Cost
from losstune.tuning.confirm.looks import Stop
from losstune.tuning.confirm.measured_cost import measured_cost, parameter_count
from losstune.tuning.confirm.plan import Plan, record_test_use
from losstune.tuning.confirm.results import ArmResult, Results, Scores, save_results
from losstune.tuning.confirm.validated import CPU, best_predictions, prefix_values
from losstune.tuning.study.study import Study


@dataclass(frozen=True)
class _Scored:
    test: Mapping[str, Tensor]
    geometry: dict[str, float]


class NothingToScoreError(UserError):
    """No setting of a confirmation has a value with every seed: nothing was wrong with what the command was given."""

    exit_code = 1


def score_plan(study: Study, plan: Plan, pairs: Pairs) -> Results:
    """Pick on validation, score on test, and keep both.

    A use of the test split is on record before its first row is scored, and only where rows are to be scored.

    Raises:
        NothingToScoreError: every setting of every loss failed.
        UserError: the test split has not two targets.
    """
    trained = runs_by_arm(study, plan)
    stops = looked(plan, ended_values(study, plan)).stops
    arms = {name: _trained(runs, stops.get(name)) for name, runs in trained.items()}
    picks = pick(plan, arms)
    if not picks:
        raise NothingToScoreError(_why_none(plan, [run for own in trained.values() for run in own]))
    split = _test_split(study, plan, pairs)
    before = record_test_use(study, plan)
    scores: dict[str, Scores] = {}
    wanted = {*picks.values(), *(plan.starts[loss] for loss in plan.losses), *_smaller(plan, arms, picks, pairs)}
    for arm in plan.arms:
        if arm.name in wanted and arms[arm.name].validation_mean > -math.inf:
            runs = trained[arm.name]
            scored = [_score_run(run, pairs, split) for run in runs]
            scores[arm.name] = _by_target([one.test for one in scored], split)
            signs = {name: [one.geometry[name] for one in scored] for name in scored[0].geometry}
            known = {"output_dim": min(split.targets.shape), "cost": _cost(runs[0], split)}
            known["prefixes"] = prefix_values(study, runs, pairs)
            arms[arm.name] = arms[arm.name].model_copy(update={"geometry": signs, **known})
    baselines, baseline_arms = _baselines(study, plan, pairs, split)
    results = Results(
        picks=picks,
        arms=[*arms.values(), *baseline_arms],
        targets=len(split.gallery),
        test_uses_before=before,
    )
    save_results(study, plan, results, scores | baselines)
    return results


def pick(plan: Plan, arms: Mapping[str, ArmResult]) -> dict[str, str]:
    """Each loss's candidate with the highest validation mean of those with all seeds, or else with the most.

    Of equal ones the search's better one.
    """
    picks = {}
    for loss in plan.losses:
        candidates = [arms[arm.name] for arm in plan.candidates(loss)]
        best = max(candidates, key=lambda arm: arm.standing)
        if best.validation_mean > -math.inf:
            picks[loss] = best.name
    return picks


def _why_none(plan: Plan, runs: list[ConfirmRun]) -> str:
    """Why nothing can be picked, and what helps: what failed is trained again, what diverged would diverge again."""
    said = f"confirmation {plan.number}: every setting of every loss failed or diverged with some seed"
    reasons = Counter(result.reason for run in runs if (result := run.result()) is not None and result.end == "failed")
    if not reasons:
        return f"{said}; --top {plan.top + 1} trains the next best settings too"
    ((reason, count),) = reasons.most_common(1)
    return (
        f"{said}, {count} of {len(runs)} runs with {reason!r}; once the cause is mended, the same command trains what "
        "failed again"
    )


def _smaller(plan: Plan, arms: Mapping[str, ArmResult], picks: Mapping[str, str], pairs: Pairs) -> list[str]:
    """Arms that are smaller than the best pick, whole or cut: any may turn out to be as good, whatever the margin."""
    dims = int(pairs.targets.shape[1])
    shape = tuple(pairs.inputs.shape[1:]), dims
    sizes = {arm.name: parameter_count(TrainConfig.from_flat(arm.settings).model, *shape) for arm in plan.arms}
    best = sizes[max(picks.values(), key=lambda name: arms[name].standing)]
    return [a.name for a in plan.arms if sizes[a.name] < best or (sizes[a.name] == best and a.shorter(dims))]


def _cost(run: ConfirmRun, split: SplitTensors) -> Cost:
    with run.study.files.borrowed(run.folder / BEST_FILE) as checkpoint:
        return measured_cost(checkpoint, split.inputs)


def _trained(runs: list[ConfirmRun], stop: Stop | None) -> ArmResult:
    arm = runs[0].arm
    results = [_finished(run) for run in runs]
    objective = runs[0].study.spec.settings.objective
    said = (parting(read_history(run.folder / HISTORY_FILE), objective) for run in runs)
    return ArmResult(
        name=arm.name,
        loss=arm.loss,
        loss_fn=arm.loss_fn,
        role=arm.role,
        search_value=arm.search_value,
        validation=[run.value(result) for run, result in zip(runs, results, strict=True)],
        ends=[result.end if result.end != "failed" else result.reason for result in results],
        epochs=sum(result.epochs for result in results),
        seconds=sum(result.seconds for result in results),
        partings=[f"{run.name}: {text}" for run, text in zip(runs, said, strict=True) if text],
        lost_to=stop.better if stop else None,
    )


def _finished(run: ConfirmRun) -> RunResult:
    result = run.result()
    if result is None or run.is_to_be_scored:
        raise UserError(f"{run.folder}: this run {'has not ended' if result is None else 'is not scored on all rows'}")
    return result


def _test_split(study: Study, plan: Plan, pairs: Pairs) -> SplitTensors:
    """The test rows, the same whatever the seed."""
    rows = split_rows(pairs, confirm_seeds(study.spec.settings, 0)[1]).test
    split = split_tensors(pairs, rows, CPU)
    if len(split.gallery) < 2:
        raise UserError(
            f"{pairs.source}: the test split has {len(split.gallery)} distinct targets, at least 2 are needed"
        )
    return split


def _score_run(run: ConfirmRun, pairs: Pairs, split: SplitTensors) -> _Scored:
    predictions, center = best_predictions(run, pairs, split)
    scored = predictions, split.targets, split.gallery, split.positive, center, split.others
    cut = prefix_scores(row_scores, run.arm.shorter(predictions.shape[1]), *scored)
    return _Scored(row_scores(*scored) | cut, geometry(predictions, split.targets, split.gallery, center))


def _baselines(
    study: Study, plan: Plan, pairs: Pairs, split: SplitTensors
) -> tuple[dict[str, Scores], list[ArmResult]]:
    """What any model must beat, on the same splits."""
    settings = study.spec.settings
    seeds = [confirm_seeds(settings, index) for index in range(plan.seeds)]
    model = _own_model(plan)
    found = [
        baseline_scores(pairs, split_seed, seed, settings.objective, queries=settings.eval_queries, model=model)
        for seed, split_seed in seeds
    ]
    scores, arms = {}, []
    for name in found[0]:
        own = [one[name] for one in found]
        scores[str(name)] = _by_target([one.test for one in own], split)
        arms.append(
            ArmResult(
                name=str(name),
                loss=None,
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
