"""What the training guide claims of its losses, and whether it holds on a study's data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from losstune.tuning.confirm.findings import GuideClaim, GuideVerdict
from losstune.tuning.confirm.results import Scores, in_common
from losstune.tuning.confirm.statistics import MIN_SEEDS, Interval, relative_gain


@dataclass(frozen=True)
class Claim:
    """``better`` has so much more of a metric than ``worse``, in relative terms: (0.05, 0.10) is 5 to 10 % more."""

    better: str
    worse: str
    metric: str
    claimed: tuple[float, float]


CLAIMS = (
    Claim("cosine", "mse", "cosine_sim", (0.05, 0.10)),
    Claim("infonce", "cosine", "recall_at_1", (0.10, 0.20)),
)
GUIDE_NAMES = {"cosine_sim": "cosine similarity", "recall_at_1": "retrieval accuracy (recall@1)"}
"""What the guide calls the metrics of its claims."""


def checked_claims(
    tuned: Mapping[str, str], untuned: Mapping[str, str], scores: Mapping[str, Scores], seeds: int
) -> Iterator[GuideClaim]:
    """Each claim whose two losses are both there, on tuned settings and on untuned ones.

    Args:
        tuned, untuned: by loss, the arm that stands for it. An arm that failed has no scores, and is not there.
        scores: of each arm, by metric, (S, T).
    """
    places: tuple[tuple[Literal["tuned", "untuned"], Mapping[str, str]], ...] = (("tuned", tuned), ("untuned", untuned))
    for claim in CLAIMS:
        for at, arms in places:
            better, worse = (scores.get(arms.get(loss, "")) for loss in (claim.better, claim.worse))
            if better is None or worse is None:
                continue
            one, other = in_common(better[claim.metric], worse[claim.metric])
            if other.mean() <= 0:
                continue
            gain = relative_gain(one, other)
            yield GuideClaim(
                better=claim.better,
                worse=claim.worse,
                metric=claim.metric,
                at=at,
                claimed=claim.claimed,
                gain=gain,
                verdict=guide_verdict(gain, claim.claimed, seeds),
            )


def guide_verdict(gain: Interval, claimed: tuple[float, float], seeds: int) -> GuideVerdict:
    """Held if the gain is surely at least what is claimed, not held if it is surely less."""
    if seeds < MIN_SEEDS:
        return "too few seeds"
    if gain.low >= claimed[0]:
        return "held"
    return "not held" if gain.high < claimed[0] else "undecided"
