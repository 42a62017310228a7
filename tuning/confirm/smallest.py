"""The smallest setting of a confirmation that may be as good as the choice, and what the test split says of it."""

from collections.abc import Mapping

from losstune.tuning.confirm.equivalence import equivalence_p
from losstune.tuning.confirm.findings import Smallest, SmallestVerdict
from losstune.tuning.confirm.results import ArmResult, Results, Scores
from losstune.tuning.confirm.statistics import ALPHA, MIN_SEEDS, difference, mean_interval


def find_smallest(
    results: Results, scores: Mapping[str, Scores], measure: str, margin: float, seeds: int
) -> Smallest | None:
    """The setting with the fewest parameters of those whose validation mean is less than the margin below the choice's.

    It is chosen on validation alone, and one claim is made of it, on the test split: why that holds its error is told
    in :mod:`losstune.tuning.confirm.equivalence`.

    Returns:
        None where no setting of fewer parameters gets so far, or costs are not known, as of an earlier release.
    """
    choice = results.arm(results.picks[results.winner])
    small = _cheapest(results, scores, choice, margin)
    if small is None or small.cost is None or choice.cost is None:
        return None
    own, best = scores[small.name][measure], scores[choice.name][measure]
    p = equivalence_p(own, best, margin)
    verdict: SmallestVerdict = "not shown"
    if seeds < MIN_SEEDS:
        verdict = "too few seeds"
    elif p < ALPHA:
        verdict = "as good"
    return Smallest(
        name=small.name,
        loss=str(small.loss),
        loss_fn=str(small.loss_fn),
        measure=measure,
        margin=margin,
        share=small.cost.parameters / choice.cost.parameters,
        difference=difference(own, best),
        p=p,
        verdict=verdict,
        test=mean_interval(own),
        validation=small.validation_mean,
        cost=small.cost,
    )


def _cheapest(results: Results, scores: Mapping[str, Scores], choice: ArmResult, margin: float) -> ArmResult | None:
    """Of equal ones the one with the higher validation mean."""
    if choice.cost is None:
        return None
    near = [
        (arm.cost.parameters, -arm.validation_mean, arm.name)
        for arm in results.arms
        if arm.role != "baseline" and arm.name in scores and arm.cost is not None
        if arm.cost.parameters < choice.cost.parameters
        if arm.validation_mean > choice.validation_mean - margin
    ]
    return results.arm(min(near)[2]) if near else None
