"""What is said of trials that are no longer than their warm-up."""

import pytest

from losstune.trainer.config.loss_registry import loss_names
from losstune.tuning.space.feasibility import load_spaces
from losstune.tuning.space.warm_up import warm_up_notes
from tests.tuning.samples import settings_of, space_of

LONG = "so warmed up it never trains at its lr; --max-epochs {} or more is long enough"


def test_shipped_spaces_are_told_in_one_line_where_trials_are_short_and_refused_nowhere() -> None:
    spaces = load_spaces(loss_names())
    [note] = warm_up_notes(spaces, settings_of(max_epochs=5))
    named = ", ".join(space.name for space in spaces)
    assert note == f"warmup_epochs is up to 5 in {named}, a trial has 5 epochs: {LONG.format(6)}"
    assert warm_up_notes(spaces, settings_of(max_epochs=6)) == []


@pytest.mark.parametrize(
    ("space", "longest"),
    [
        ("fixed: {warmup_epochs: 4}", 4),
        ("space: {warmup_epochs: {choices: [0, 7, 3]}}", 7),
        ("space: {warmup_epochs: {choices: [0, 2]}}", 0),
        ("space: {lr: {low: 1e-4, high: 1e-2}}", 0),
    ],
)
def test_the_longest_that_a_space_may_give_counts(space: str, longest: int) -> None:
    notes = warm_up_notes([space_of(f"loss_fn: mse\n{space}")], settings_of(max_epochs=3))
    expected = f"warmup_epochs is up to {longest} in mse, a trial has 3 epochs: {LONG.format(longest + 1)}"
    assert notes == ([expected] if longest else [])
