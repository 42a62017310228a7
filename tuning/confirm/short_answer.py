"""The answer of a comparison in a few lines, for a terminal; all of it is in ``sentences``."""

import math
from collections.abc import Iterator

from losstune.tuning.confirm.findings import LABELS, Comparison, Pair
from losstune.tuning.confirm.sentences import (
    choice_text,
    few_seeds,
    interval_text,
    joined,
    ridge_warning,
    stopped_early,
)
from losstune.tuning.confirm.smallest_words import short_smallest
from losstune.tuning.confirm.statistics import ALPHA

LINES, COLUMNS = 8, 80
MARK = "• "
"""What stands before each sentence."""


def short_answer(comparison: Comparison) -> list[str]:
    """What decides, the most important first: as many sentences as fit eight lines of 80 columns."""
    fitting: list[str] = []
    lines = 0
    for sentence in _sentences(comparison):
        lines += math.ceil(len(MARK + sentence) / COLUMNS)
        if lines > LINES:
            break
        fitting.append(sentence)
    return fitting


def _sentences(comparison: Comparison) -> Iterator[str]:
    yield from ridge_warning(comparison)
    yield _choice(comparison)
    yield from few_seeds(comparison)
    yield from short_smallest(comparison)
    for measure in comparison.measures:
        yield from _standing(comparison, measure)
    yield from stopped_early(comparison, picks_only=True)
    if comparison.test_uses_before:
        yield "The test split had been used before, so it is not independent of what was chosen since."
    if comparison.failed:
        yield f"Not compared: {joined(list(comparison.failed))}."
    if flagged := [str(row.loss) for row in comparison.rows if row.role == "pick" and row.flags]:
        yield f"Signs of a bad embedding: {joined(flagged)}."


def _choice(comparison: Comparison) -> str:
    row, primary = comparison.pick(comparison.winner), comparison.measures[0]
    text = (
        f"{choice_text(row)} is the choice: test {LABELS[primary]} {interval_text(row.test[primary])} "
        f"over {row.seeds} fresh seeds"
    )
    gain = row.gain.get(primary)
    return f"{text}, {gain.value:+.3f} over its untuned start." if gain else f"{text}."


def _standing(comparison: Comparison, measure: str) -> Iterator[str]:
    """Where the choice stands among the other losses: what is known on the objective, and whom it loses to."""
    own = [p for p in comparison.pairs if p.measure == measure and comparison.winner in (p.first, p.second)]
    known = [pair for pair in own if pair.verdict == "first"]
    beaten = [f"{p.second} by {p.difference.value:.3f}" for p in known if p.first == comparison.winner]
    better = [f"{p.first} by {p.difference.value:.3f}" for p in known if p.second == comparison.winner]
    undecided = [_other(pair, comparison.winner) for pair in own if pair.verdict == "undecided"]
    if better:
        yield f"On {LABELS[measure]} it loses to {joined(better)} (p < {ALPHA} after Holm)."
    if measure == comparison.measures[0]:
        if beaten:
            yield f"On {LABELS[measure]} it beats {joined(beaten)} (p < {ALPHA} after Holm)."
        if undecided:
            yield f"On {LABELS[measure]} it can not be told apart from {joined(undecided)}."


def _other(pair: Pair, loss: str) -> str:
    return pair.second if pair.first == loss else pair.first
