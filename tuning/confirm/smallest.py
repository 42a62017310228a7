"""The smallest model of a confirmation that may be as good as the choice, and what the test split says of it."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import NamedTuple

from losstune.trainer.score.names import at_dims
from losstune.tuning.confirm.equivalence import equivalence_p
from losstune.tuning.confirm.findings import Smallest, SmallestVerdict
from losstune.tuning.confirm.results import ArmResult, Results, Scores, in_common
from losstune.tuning.confirm.statistics import ALPHA, MIN_SEEDS, difference, mean_interval


def find_smallest(
    results: Results, scores: Mapping[str, Scores], measure: str, margin: float, seeds: int
) -> Smallest | None:
    """The smallest model of those whose validation mean is less than the margin below the choice's.

    A setting's whole embeddings are a model, and each prefix of them that it was trained for. Smaller than the choice
    is what has no more dimensions and no more parameters, and fewer of one; the smallest has the fewest dimensions, and
    of as many the fewest parameters. It is chosen on validation alone, and one claim is made of it, on the test split:
    why that holds its error is told in :mod:`losstune.tuning.confirm.equivalence`.

    Returns:
        None where no smaller one gets so far, or costs are not known, as of an earlier release.
    """
    choice = results.arm(results.picks[results.winner])
    model = _smallest(results, scores, choice, margin)
    if model is None or choice.cost is None:
        return None
    small = results.arm(model.name)
    assert small.cost is not None
    is_whole = model.dims == small.cost.dims
    own = scores[small.name][measure if is_whole else at_dims(model.dims, measure)]
    both = in_common(own, scores[choice.name][measure])
    p = equivalence_p(*both, margin)
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
        share=model.parameters / choice.cost.parameters,
        whole_dims=small.cost.dims,
        difference=difference(*both),
        p=p,
        verdict=verdict,
        test=mean_interval(own),
        validation=-model.lost,
        cost=small.cost.model_copy(update={"dims": model.dims}),
    )


class _Model(NamedTuple):
    """In the order of what is smaller, and of equals better: ``lost`` is minus the mean on validation."""

    dims: int
    parameters: int
    lost: float
    name: str


def _smallest(results: Results, scores: Mapping[str, Scores], choice: ArmResult, margin: float) -> _Model | None:
    whole = next(_models(choice), None)
    if whole is None:
        return None
    near = [
        model
        for arm in results.arms
        if arm.role != "baseline" and arm.name in scores and arm.lost_to is None
        for model in _models(arm)
        if model.dims <= whole.dims and model.parameters <= whole.parameters and model[:2] != whole[:2]
        if model.lost < whole.lost + margin
    ]
    return min(near, default=None)


def _models(arm: ArmResult) -> Iterator[_Model]:
    """An arm's whole embeddings, and its prefixes; nothing where its cost is not known."""
    if arm.cost is not None:
        yield _Model(arm.cost.dims, arm.cost.parameters, -arm.validation_mean, arm.name)
        for dims, values in arm.prefixes.items():
            yield _Model(dims, arm.cost.parameters, -fmean(values), arm.name)
