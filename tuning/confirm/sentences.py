"""A comparison in words: the answer first, and nothing that its numbers do not carry."""

from losstune.tuning.confirm.findings import LABELS, ComparedArm, Comparison, GuideClaim, Pair
from losstune.tuning.confirm.guide import GUIDE_NAMES
from losstune.tuning.confirm.smallest_words import smallest_sentence
from losstune.tuning.confirm.statistics import MIN_SEEDS, Difference, Interval


def answer_sentences(comparison: Comparison) -> list[str]:
    """Everything worth saying, the most important first, one sentence or two an entry."""
    return [
        *ridge_warning(comparison),
        *_winner(comparison),
        *smallest_sentence(comparison),
        *few_seeds(comparison),
        *stopped_early(comparison),
        *(pair_sentence(pair, comparison) for pair in _ordered(comparison)),
        *_disagreement(comparison),
        *_failed(comparison),
        *_collapsed(comparison),
        *_test_uses(comparison),
    ]


def interval_text(interval: Interval | Difference, digits: int = 3, *, signed: bool = False) -> str:
    """``0.331 [0.320, 0.342]``, or with signs ``+0.070 [+0.050, +0.090]``."""
    sign = "+" if signed else ""
    return f"{interval.value:{sign}.{digits}f} [{interval.low:{sign}.{digits}f}, {interval.high:{sign}.{digits}f}]"


def pair_sentence(pair: Pair, comparison: Comparison) -> str:
    """What is known of two losses on one measure."""
    label = LABELS[pair.measure]
    gap = interval_text(pair.difference, signed=True)
    match pair.verdict:
        case "too few seeds":
            return f"{pair.first} − {pair.second} on {label}: {gap}, too few seeds for a claim."
        case "first":
            return (
                f"{pair.first} beats {pair.second} on {label} by {gap} over {pair.seeds} seeds and "
                f"{comparison.targets} test targets (p {_p(pair.p_adjusted)} after Holm, "
                f"P({pair.first} > {pair.second}) {pair.difference.superiority:.2f})."
            )
        case "undecided":
            return (
                f"{pair.first} and {pair.second} can not be told apart on {label} at this budget ({gap}, "
                f"p {_p(pair.p_adjusted)} after Holm, P({pair.first} > {pair.second}) "
                f"{pair.difference.superiority:.2f}); {_more_seeds(pair)}."
            )


def guide_sentence(claim: GuideClaim, objective: str) -> str:
    """One of the guide's claims, measured; settings that were tuned were tuned for the objective."""
    at = f"tuned for {objective}" if claim.at == "tuned" else "untuned"
    low, high = (round(100 * part) for part in claim.claimed)
    gain = f"{100 * claim.gain.value:+.1f} % [{100 * claim.gain.low:+.1f}, {100 * claim.gain.high:+.1f}]"
    claimed = f"{claim.better} gives {low}–{high} % more {GUIDE_NAMES[claim.metric]} than {claim.worse}"
    return f"“{claimed}”, {at}: measured {gain}: {claim.verdict}."


def ridge_warning(comparison: Comparison) -> list[str]:
    """A study whose best does not beat a linear map says so before anything else."""
    gap, ridge = comparison.over_ridge, comparison.ridge
    if gap is None or ridge is None or (gap.low > 0 if comparison.enough_seeds else gap.value > 0):
        return []
    measure = LABELS[comparison.measures[0]]
    beaten = "does not beat" if gap.value <= 0 else "is not shown to beat"
    return [
        f"The best loss, {comparison.winner}, {beaten} ridge regression ({ridge.name}) on {measure}: "
        f"{interval_text(gap, signed=True)}. Look at the data and the encoder before choosing a loss."
    ]


def _winner(comparison: Comparison) -> list[str]:
    row = comparison.pick(comparison.winner)
    primary = comparison.measures[0]
    text = (
        f"{choice_text(row)} is the choice: the highest mean {comparison.objective} over "
        f"{row.seeds} fresh seeds, {row.validation:.3f}. Test {LABELS[primary]} "
        f"{interval_text(row.test[primary])}"
    )
    if (gain := row.gain.get(primary)) is not None:
        text += f", {interval_text(gain, signed=True)} over the loss's untuned start"
    if comparison.over_ridge is not None and comparison.over_ridge.low > 0:
        text += f", {interval_text(comparison.over_ridge, signed=True)} over ridge regression"
    sentences = [text + "."]
    if row.optimism is not None:
        sentences.append(f"The search had shown {row.search_value:.3f} for it, {_kept(row.optimism, comparison)}.")
    return sentences


def _kept(optimism: float, comparison: Comparison) -> str:
    """How far the search's value was from the confirmed mean; a split of the data's own was no other in the search."""
    luck = "one seed" if comparison.split_given else "one seed and one split"
    match f"{optimism:.3f}":
        case "0.000" | "-0.000":
            return "and that held"
        case more if optimism > 0:
            return f"{more} too high: {luck}, and picked for being high"
        case _:
            return f"{-optimism:.3f} less: that was {luck}"


def choice_text(row: ComparedArm) -> str:
    """``infonce (infonce-0007)``, or of a loss with a name of its own ``deep (infonce, deep-0007)``."""
    return f"{row.loss} ({row.name})" if row.loss == row.loss_fn else f"{row.loss} ({row.loss_fn}, {row.name})"


def few_seeds(comparison: Comparison) -> list[str]:
    """That no claim can be made, and what would change that; nothing where claims can be made."""
    if comparison.enough_seeds:
        return []
    return [
        f"Too few seeds for a claim: {comparison.seeds}, at least {MIN_SEEDS} are needed. What follows shows the "
        f"spread; losstune confirm {comparison.study}{comparison.at} {comparison.again} goes on from here."
    ]


def stopped_early(comparison: Comparison, *, picks_only: bool = False) -> list[str]:
    """Which losses got no more seeds, after how many: said of validation, where it was seen."""
    after: dict[int, list[str]] = {}
    for row in comparison.rows:
        if row.lost_to is not None and (row.role == "pick" or not picks_only):
            after.setdefault(row.seeds, []).append(f"{row.loss} untuned" if row.role == "start" else str(row.loss))
    if not after:
        return []
    who = joined([f"{joined(names)} after {seeds} seeds" for seeds, names in sorted(after.items())])
    return [f"Clearly beaten on {comparison.objective}, and trained no further: {who}."]


def _ordered(comparison: Comparison) -> list[Pair]:
    """What is known first; within that the objective first, the winner's pairs first."""

    def order(pair: Pair) -> tuple[bool, bool, bool]:
        known = pair.verdict == "first"
        return not known, pair.measure != comparison.measures[0], comparison.winner not in (pair.first, pair.second)

    return sorted(comparison.pairs, key=order)


def _disagreement(comparison: Comparison) -> list[str]:
    one, other = comparison.measures
    wins: dict[str, set[tuple[str, str]]] = {one: set(), other: set()}
    for pair in comparison.pairs:
        if pair.verdict == "first":
            wins[pair.measure].add((pair.first, pair.second))
    opposed = [(a, b) for a, b in sorted(wins[one]) if (b, a) in wins[other]]
    if not opposed:
        return []
    better = sorted({a for a, _ in opposed})
    losers = sorted({b for _, b in opposed})
    return [
        f"The two measures disagree: {joined(better)} {_verb(better, 'wins', 'win')} {LABELS[one]} and "
        f"{_verb(better, 'loses', 'lose')} {LABELS[other]} against {joined(losers)}. Optimise what your task measures. "
        f"Pareto set (no other loss is known to be better on one and as good on the other): "
        f"{joined(comparison.pareto)}."
    ]


def _failed(comparison: Comparison) -> list[str]:
    return [f"{name} is not compared: {why}." for name, why in (comparison.failed | comparison.left_out).items()]


def _collapsed(comparison: Comparison) -> list[str]:
    rows: list[ComparedArm] = [row for row in comparison.rows if row.role == "pick" and row.flags]
    return [f"{row.loss}: {'; '.join(row.flags)}." for row in rows]


def _test_uses(comparison: Comparison) -> list[str]:
    if not comparison.test_uses_before:
        return []
    times = "once" if comparison.test_uses_before == 1 else f"{comparison.test_uses_before} times"
    return [
        f"The test split had been used {times} before by a confirmation on this data: what was chosen after looking "
        "at it is not independent of it."
    ]


def _more_seeds(pair: Pair) -> str:
    if pair.smaller is None:
        return f"a difference of {pair.detectable:.4f} would have shown"
    if pair.seeds_needed is None:
        return (
            f"a difference of {pair.detectable:.3f} would have shown; for one of {pair.smaller:g} the test targets are "
            "too few, whatever the seeds"
        )
    return f"{pair.seeds_needed} seeds would show a difference of {pair.smaller:g}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def joined(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _verb(subjects: list[str], one: str, many: str) -> str:
    return one if len(subjects) == 1 else many
