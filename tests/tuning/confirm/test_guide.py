"""The guide's claims: only those of losses that are there, and what holds of them."""

import numpy as np
import pytest

from losstune.tuning.confirm.guide import CLAIMS, GUIDE_NAMES, checked_claims, guide_verdict
from losstune.tuning.confirm.results import Scores
from losstune.tuning.confirm.statistics import Interval


@pytest.mark.parametrize(
    ("low", "high", "seeds", "verdict"),
    [
        (0.05, 0.09, 10, "held"),
        (0.30, 0.40, 10, "held"),
        (0.049, 0.2, 10, "undecided"),
        (-0.1, 0.05, 10, "undecided"),
        (-0.1, 0.049, 10, "not held"),
        (0.30, 0.40, 9, "too few seeds"),
    ],
)
def test_a_claim_of_the_guide(low: float, high: float, seeds: int, verdict: str) -> None:
    assert guide_verdict(Interval((low + high) / 2, low, high), (0.05, 0.10), seeds) == verdict


def scores_of(level: float) -> Scores:
    """(10, 4) scores that differ a little by seed and by target, alike for all arms."""
    shape = 1 + 0.01 * np.arange(10)[:, None] + 0.02 * np.arange(4)
    return {claim.metric: level * shape for claim in CLAIMS}


ARMS = {"mse-0001": 0.4, "cosine-0001": 0.42, "infonce-0001": 0.63, "mse-start": 0.3, "infonce-start": 0.9}
SCORES = {arm: scores_of(level) for arm, level in ARMS.items()}


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (("mse", "cosine", "infonce"), [("cosine", "mse"), ("infonce", "cosine")]),
        (("mse", "cosine"), [("cosine", "mse")]),
        (("cosine", "infonce"), [("infonce", "cosine")]),
        (("mse", "infonce"), []),
        (("cosine",), []),
    ],
)
def test_only_claims_about_losses_of_the_study_are_checked(
    losses: tuple[str, ...], found: list[tuple[str, str]]
) -> None:
    tuned = {loss: f"{loss}-0001" for loss in losses}
    assert [(claim.better, claim.worse) for claim in checked_claims(tuned, {}, SCORES, 10)] == found


def test_gains_are_relative_and_of_the_claims_metric() -> None:
    tuned = {loss: f"{loss}-0001" for loss in ("mse", "cosine", "infonce")}
    cosine, infonce = checked_claims(tuned, {}, SCORES, 10)
    assert (cosine.metric, cosine.claimed, cosine.at) == ("cosine_sim", (0.05, 0.10), "tuned")
    assert (infonce.metric, infonce.claimed, infonce.at) == ("recall_at_1", (0.10, 0.20), "tuned")
    assert cosine.gain.value == pytest.approx(0.42 / 0.4 - 1)
    assert infonce.gain.value == pytest.approx(0.63 / 0.42 - 1)


def test_an_untuned_start_that_failed_is_not_there() -> None:
    untuned = {"mse": "mse-start", "cosine": "cosine-start", "infonce": "infonce-start"}
    assert list(checked_claims({}, untuned, SCORES, 10)) == []
    claim = next(checked_claims({}, untuned, {**SCORES, "cosine-start": scores_of(0.36)}, 3))
    assert (claim.at, claim.gain.value, claim.verdict) == ("untuned", pytest.approx(0.2), "too few seeds")


def test_there_is_no_gain_over_a_loss_that_scores_nothing() -> None:
    tuned = {"cosine": "cosine-0001", "mse": "zero"}
    assert list(checked_claims(tuned, {}, {**SCORES, "zero": scores_of(0.0)}, 10)) == []


def test_there_is_no_gain_where_it_scores_nothing_on_the_seeds_in_common() -> None:
    """Stopped after four seeds, the better one: the other has its hits, or positive cosines, with later seeds."""
    tuned = {"cosine": "cosine-0001", "mse": "late"}
    short = {metric: values[:4] for metric, values in SCORES["cosine-0001"].items()}
    for first in (0.0, -0.01):
        late = {
            metric: np.where(np.arange(10)[:, None] < 4, first, values) for metric, values in scores_of(0.4).items()
        }
        assert list(checked_claims(tuned, {}, {"cosine-0001": short, "late": late}, 10)) == []


def test_every_claim_can_be_said() -> None:
    assert {claim.metric for claim in CLAIMS} <= set(GUIDE_NAMES)
