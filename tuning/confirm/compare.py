"""Which loss, by how much, how sure: a finished confirmation turned into numbers. Words are in ``sentences``."""

import itertools
import math
from collections.abc import Mapping
from statistics import fmean

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.trainer.score.flags import geometry_flags
from losstune.trainer.score.names import at_dims
from losstune.tuning.confirm.bootstrap import Array
from losstune.tuning.confirm.confirm_runs import ConfirmRun, runs_of
from losstune.tuning.confirm.findings import (
    TEST_METRICS,
    ComparedArm,
    Comparison,
    Pair,
    Role,
    Verdict,
)
from losstune.tuning.confirm.guide import checked_claims
from losstune.tuning.confirm.looks import ERROR
from losstune.tuning.confirm.margin import MARGIN
from losstune.tuning.confirm.plan import Plan, latest_finished, plans
from losstune.tuning.confirm.results import ArmResult, Results, Scores, in_common, load_results
from losstune.tuning.confirm.smallest import find_smallest
from losstune.tuning.confirm.statistics import (
    ALPHA,
    MIN_SEEDS,
    Difference,
    Interval,
    detectable,
    difference,
    holm,
    mean_interval,
    seeds_needed,
    variance_components,
)
from losstune.tuning.study.study import Study

_STEPS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
_MOST_SEEDS = 200


def compare(study: Study, margin: float | None = None) -> Comparison:
    """The numbers of a study's newest finished confirmation.

    Args:
        margin: within which a smaller model is as good; None is that of ``confirm --smallest``, or else the default.

    Raises:
        UserError: there is none; says how to get one.
    """
    plan = latest_finished(study)
    if plan is None:
        raise UserError(_not_confirmed(study))
    results, scores = load_results(study, plan)
    return build_comparison(study, plan, results, scores, margin)


def build_comparison(
    study: Study, plan: Plan, results: Results, scores: Mapping[str, Scores], margin: float | None = None
) -> Comparison:
    """Turn what was found into intervals, tests and verdicts."""
    objective = study.spec.settings.objective
    primary = study.spec.settings.measure
    measures = (primary, "mrr" if primary == "cosine_sim" else "cosine_sim")
    picks = results.picks
    rows = [*_loss_rows(study, plan, results, scores, measures), *_baseline_rows(results, scores)]
    winner = results.winner
    margin = margin or plan.margin or MARGIN
    spent = ERROR if plan.early else 0.0
    pairs = compare_losses({loss: scores[arm] for loss, arm in picks.items()}, measures, plan.seeds, spent)
    ridge = max(
        (results.arm(row.name) for row in rows if row.role == "baseline" and row.name.startswith("ridge")),
        key=lambda arm: arm.validation_mean,
        default=None,
    )
    return Comparison(
        study=study.spec.name,
        confirmation=plan.number,
        created=plan.created,
        data_source=study.data_source,
        data_digest=study.spec.data_digest,
        objective=objective,
        measures=measures,
        seeds=plan.seeds,
        targets=results.targets,
        split_given=plan.split_given,
        test_uses_before=results.test_uses_before,
        winner=winner,
        rows=rows,
        pairs=pairs,
        ridge=next((row for row in rows if ridge and row.name == ridge.name), None),
        over_ridge=_over(scores, picks[winner], ridge.name, primary) if ridge else None,
        pareto=pareto({loss: scores[arm] for loss, arm in picks.items()}, pairs, measures),
        guide=list(checked_claims(picks, plan.starts, scores, plan.seeds)),
        failed={loss: _failure(results, loss) for loss in study.spec.spaces if loss not in picks},
        left_out={
            arm.name: _without_value(arm.ends)
            for arm in results.arms
            if arm.loss in picks and arm.validation_mean == -math.inf
        },
        partings=[text for loss in picks for text in results.arm(picks[loss]).partings],
        margin=margin,
        smallest=find_smallest(results, scores, primary, margin, plan.seeds),
        smallest_sought=plan.margin is not None,
        at=study.home.options(),
        again=" ".join(plan.model_copy(update={"seeds": max(plan.seeds, MIN_SEEDS)}).options),
    )


def _over(scores: Mapping[str, Scores], name: str, other: str, measure: str) -> Difference:
    """One arm over another on a measure, on the seeds that both have."""
    return difference(*in_common(scores[name][measure], scores[other][measure]))


def compare_losses(
    scores: Mapping[str, Scores], measures: tuple[str, str], seeds: int, spent: float = 0.0
) -> list[Pair]:
    """Every pair of losses on both measures, the better one first; one Holm family, so that any claim counts.

    Args:
        scores: of each loss's pick, by metric, (S, T); two are compared on the seeds that both have.
        seeds: that a loss gets if it does not stop before.
        spent: what looks at validation may have been wrong in, of the 5 % for all claims together.
    """
    found: list[tuple[str, str, str, Difference, Array]] = []
    for measure in measures:
        for one, other in itertools.combinations(scores, 2):
            a, b = in_common(scores[one][measure], scores[other][measure])
            if a.mean() < b.mean():
                one, other, a, b = other, one, b, a
            found.append((one, other, measure, difference(a, b), a - b))
    adjusted = [min(1.0, p * (ALPHA / (ALPHA - spent))) for p in holm([gap.p for *_, gap, _ in found])]
    known = sum(p < ALPHA for p in adjusted)
    # Below which a pair's own p makes a claim: Holm shares the error among all that are not claimed otherwise.
    left = [(ALPHA - spent) / (len(found) - known + (p < ALPHA)) for p in adjusted]
    return [_pair(*own, p, seeds, alpha) for own, p, alpha in zip(found, adjusted, left, strict=True)]


def _pair(
    a: str, b: str, measure: str, gap: Difference, gaps: Array, p_adjusted: float, seeds: int, alpha: float
) -> Pair:
    common, targets = gaps.shape
    components = variance_components(gaps)
    shown = detectable(components, common, targets, alpha=alpha)
    smaller = next((step for step in _STEPS if step < shown), None)
    needed = seeds_needed(components, targets, smaller, at_most=_MOST_SEEDS, alpha=alpha) if smaller else None
    verdict: Verdict = "undecided"
    if seeds < MIN_SEEDS:
        verdict = "too few seeds"
    elif p_adjusted < ALPHA:
        verdict = "first"
    return Pair(
        first=a,
        second=b,
        measure=measure,
        difference=gap,
        p_adjusted=p_adjusted,
        verdict=verdict,
        detectable=shown,
        smaller=smaller,
        seeds_needed=needed,
        seeds=common,
    )


def pareto(scores: Mapping[str, Scores], pairs: list[Pair], measures: tuple[str, str]) -> list[str]:
    """Losses that no other is known to dominate: as high on both measures, and shown to be better on one."""

    def as_high(other: str, loss: str) -> bool:
        both = (in_common(scores[other][measure], scores[loss][measure]) for measure in measures)
        return all(a.mean() >= b.mean() for a, b in both)

    beaten = {(pair.second, pair.first) for pair in pairs if pair.verdict == "first"}
    return [loss for loss in scores if not any((loss, other) in beaten and as_high(other, loss) for other in scores)]


def _loss_rows(
    study: Study, plan: Plan, results: Results, scores: Mapping[str, Scores], measures: tuple[str, str]
) -> list[ComparedArm]:
    rows = []
    trials = study.trials()
    for loss, name in results.picks.items():
        start = plan.starts[loss]
        epochs = sum(trial.epochs for trial in trials[loss])
        folders = (study.trials_folder / trial.name / HISTORY_FILE for trial in trials[loss])
        seconds = sum(record["seconds"] for path in folders for record in read_history(path))
        tuned = start in scores and start != name
        gain = {measure: _over(scores, name, start, measure) for measure in measures if tuned}
        rows.append(_row(results.arm(name), scores[name], "pick", gain, epochs, seconds))
        if start in scores:
            rows.append(_row(results.arm(start), scores[start], "start"))
    return rows


def _baseline_rows(results: Results, scores: Mapping[str, Scores]) -> list[ComparedArm]:
    return [_row(arm, scores[arm.name], "baseline") for arm in results.arms if arm.role == "baseline"]


def _row(
    arm: ArmResult,
    scores: Scores,
    role: Role,
    gain: dict[str, Difference] | None = None,
    search_epochs: int = 0,
    search_seconds: float = 0.0,
) -> ComparedArm:
    validation = arm.validation_mean if arm.validation_mean > -math.inf else None
    signs = {name: fmean(values) for name, values in arm.geometry.items()}
    picked = role == "pick" and arm.search_value is not None and validation is not None
    return ComparedArm(
        name=arm.name,
        loss=arm.loss,
        loss_fn=arm.loss_fn,
        role=role,
        test={metric: mean_interval(scores[metric]) for metric in TEST_METRICS if metric in scores},
        prefixes={size: _cut(scores, size) for size in arm.prefixes},
        validation=validation,
        search_value=arm.search_value if role == "pick" else None,
        optimism=arm.search_value - validation if picked else None,  # type: ignore[operator]
        gain=gain or {},
        search_epochs=search_epochs,
        search_seconds=search_seconds,
        epochs=arm.epochs,
        seconds=arm.seconds,
        geometry=signs,
        flags=[] if role == "baseline" else geometry_flags(signs, arm.output_dim),
        note=arm.note,
        cost=arm.cost,
        seeds=len(arm.validation),
        lost_to=arm.lost_to,
    )


def _cut(scores: Scores, size: int) -> dict[str, Interval]:
    names = {metric: at_dims(size, metric) for metric in TEST_METRICS}
    return {metric: mean_interval(scores[name]) for metric, name in names.items() if name in scores}


def _failure(results: Results, loss: str) -> str:
    ends = [end for arm in results.arms if arm.loss == loss and arm.role == "candidate" for end in arm.ends]
    return _without_value(ends) if ends else "every trial of its search diverged or failed"


def _without_value(ends: list[str]) -> str:
    bad = [end for end in ends if end not in ("epochs", "patience")]
    return f"{len(bad)} of {len(ends)} runs failed or diverged ({bad[0] if bad else 'no value'})"


def _not_confirmed(study: Study) -> str:
    name = study.spec.name
    command = f"losstune confirm {name}{study.home.options()}"
    last = next(reversed(list(plans(study))), None)
    if last is None:
        return f"study {name!r} is not confirmed yet: {command} trains its best settings with fresh seeds"
    runs: list[ConfirmRun] = runs_of(study, last)
    done = sum(run.result() is not None for run in runs)
    return (
        f"the confirmation of study {name!r} is not finished, {done} of {len(runs)} runs are done: "
        f"{command} {' '.join(last.options)} goes on"
    )
