"""What a confirmation says, as plain values: rows of arms, pairs of losses, the guide's claims. Shown elsewhere."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from losstune.tuning.confirm.cost import Cost
from losstune.tuning.confirm.margin import MARGIN
from losstune.tuning.confirm.statistics import MIN_SEEDS, Difference, Interval
from losstune.tuning.space.search_space import loss_title

LABELS = {
    "cosine_sim": "cosine similarity",
    "mrr": "MRR",
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "mrr_at_10": "MRR@10",
    "ndcg_at_10": "nDCG@10",
    "mse": "MSE",
}
"""What is compared on the test split, in the order of the tables, and what readers call it."""
TEST_METRICS = tuple(LABELS)

Role = Literal["pick", "start", "baseline"]
Verdict = Literal["first", "undecided", "too few seeds"]
SmallestVerdict = Literal["as good", "not shown", "too few seeds"]
GuideVerdict = Literal["held", "not held", "undecided", "too few seeds"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ComparedArm(_Frozen):
    """One arm of the table.

    Attributes:
        name: the arm; its runs in MLflow are ``name/seed-00`` …
        loss: by its name in the study, None of a baseline. loss_fn: the loss function.
        role: ``pick`` of its loss, ``start`` untuned, or ``baseline``.
        test: each metric's mean over seeds and test targets, with its 95 % interval.
        validation, search_value, optimism: mean confirmed objective, the search's value, and by how much that
            was too good; on validation rows, all three.
        gain: on each measure, over the loss's untuned start.
        search_epochs, search_seconds: spent by the loss's whole search. seconds: by this arm's confirmation.
        seeds: that it was trained with.
        geometry: means over seeds. flags: what is wrong with it, in words.
        cost: of its model; None for a baseline, and where an earlier release confirmed.
        prefixes: as ``test``, of embeddings cut to so many dimensions, which it was trained for.
        lost_to: why it has not all seeds, as in :class:`ArmResult`.
    """

    name: str
    loss: str | None
    loss_fn: str | None
    role: Role
    test: dict[str, Interval]
    validation: float | None
    search_value: float | None
    optimism: float | None
    gain: dict[str, Difference]
    search_epochs: int
    search_seconds: float
    epochs: int
    seconds: float
    seeds: int
    geometry: dict[str, float]
    flags: list[str]
    note: str
    cost: Cost | None = None
    prefixes: dict[int, dict[str, Interval]] = {}
    lost_to: str | None = None

    @property
    def title(self) -> str:
        """Its loss by name, with the loss function beside it where that has another."""
        return loss_title(str(self.loss), str(self.loss_fn))


class Pair(_Frozen):
    """Two losses on one measure, the one with the higher mean first; ``difference`` is first minus second.

    Attributes:
        p_adjusted: Holm over all pairs and measures, and a share of the error that looks at validation may have spent.
        seeds: that both were trained with.
        detectable: the true difference that this confirmation would have shown four times in five, corrected like p.
        seeds_needed: seeds with which ``smaller``, a smaller difference, would show; None where no number of
            seeds up to 200 would do, because the test targets are too few.
    """

    first: str
    second: str
    measure: str
    difference: Difference
    p_adjusted: float
    verdict: Verdict
    detectable: float
    smaller: float | None
    seeds_needed: int | None
    seeds: int


class Smallest(_Frozen):
    """The smallest model that came within the margin of the choice on validation: a setting's, whole or cut.

    Attributes:
        share: its parameters over those of the choice, at most 1.
        whole_dims: dimensions of its embeddings before they are cut to those of its ``cost``; as many if they are not.
        difference: its test scores by the measure less those of the choice.
        p: of a difference of the margin or more.
        test: its own mean by the measure.
    """

    name: str
    loss: str
    loss_fn: str
    measure: str
    margin: float
    share: float
    whole_dims: int
    difference: Difference
    p: float
    verdict: SmallestVerdict
    test: Interval
    validation: float
    cost: Cost

    @property
    def is_cut(self) -> bool:
        """Whether it is the first dimensions of longer embeddings."""
        return self.cost.dims < self.whole_dims


class GuideClaim(_Frozen):
    """One of the training guide's claims on this data, in relative terms: ``gain`` 0.07 is 7 % more."""

    better: str
    worse: str
    metric: str
    at: Literal["tuned", "untuned"]
    claimed: tuple[float, float]
    gain: Interval
    verdict: GuideVerdict


class Comparison(_Frozen):
    """All that a confirmation says."""

    study: str
    confirmation: int
    created: str
    data_source: str
    data_digest: str
    objective: str
    measures: tuple[str, str]
    seeds: int
    targets: int
    split_given: bool
    test_uses_before: int
    winner: str
    rows: list[ComparedArm]
    pairs: list[Pair]
    ridge: ComparedArm | None
    over_ridge: Difference | None
    pareto: list[str]
    guide: list[GuideClaim]
    failed: dict[str, str]
    partings: list[str]
    left_out: dict[str, str] = {}
    """Why a setting of a loss that is compared is not: by its name, how many of its runs have no value."""
    margin: float = MARGIN
    smallest: Smallest | None = None
    smallest_sought: bool = False
    """Whether the confirmation had a setting added for being small."""
    at: str = ""
    """The options that bring a command to the study's place, for the commands that sentences name."""
    again: str = f"--seeds {MIN_SEEDS}"
    """The options of the command that confirmed it, with seeds enough for claims: the same settings again."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of :data:`TEST_METRICS` that the test split was scored by; earlier releases knew fewer."""
        return tuple(metric for metric in TEST_METRICS if all(metric in row.test for row in self.rows))

    @property
    def seeds_text(self) -> str:
        """``10``, or ``at most 10`` where a setting got no more seeds after fewer."""
        return f"{'at most ' if any(row.lost_to for row in self.rows) else ''}{self.seeds}"

    @property
    def enough_seeds(self) -> bool:
        """Whether claims can be made at all."""
        return bool(self.seeds >= MIN_SEEDS)

    def pick(self, loss: str) -> ComparedArm:
        """The row of a loss's pick."""
        return next(row for row in self.rows if row.role == "pick" and row.loss == loss)
