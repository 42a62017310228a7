"""Trials that gave nothing are counted by reason, and the failed ones tried again, once each."""

import pytest

from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.lost_trials import failed_trials, lost_trials, reasons_text, try_again, without_success
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import CONTINUOUS, cut, diverged, failed, new_trials, space_of, used_up

AGAIN = "once the cause is mended, the same command with --retry-failed tries failed trials again"


def ended(*endings: Ending | None) -> LossTrials:
    trials = new_trials(space_of(CONTINUOUS))
    for number, ending in enumerate(endings):
        trials.add({"lr": 0.001 * (number + 1), "model.dropout": 0.5}, seed=number)
        if ending is not None:
            trials.end(number, ending)
    return trials


def broken(reason: str) -> Ending:
    return Ending("failed", reason, 1, None, 0)


def test_reasons_are_told_with_their_counts_the_commonest_first() -> None:
    kinds = [broken("no such file"), diverged(2, 0.9), broken("no such file"), cut(0.3, 3), failed(), diverged(1)]
    trials = ended(*kinds, None, diverged(3))
    lost = lost_trials(trials)
    assert [trial.number for trial in lost] == [0, 1, 2, 4, 5, 7]
    assert reasons_text(lost) == "diverged (3 trials); no such file (2 trials); other reasons (1)"
    assert reasons_text(lost[:1]) == "no such file (1 trial)"


@pytest.mark.parametrize(
    ("endings", "told"),
    [
        ([failed(), failed()], f"its worker died (2 trials); {AGAIN}"),
        ([failed(), diverged(1)], f"its worker died (1 trial); diverged (1 trial); {AGAIN}"),
        ([diverged(1, 0.9)], "diverged (1 trial); begin another study, with a lower lr or a clip_norm in its space"),
        ([Ending("pruned", "time budget", 0, None, 0)], "time budget (1 trial); the same command goes on"),
        ([failed(), used_up()], None),
        ([failed(), cut(0.1, 3)], None),
        ([failed(), None], None),
        ([], None),
    ],
)
def test_a_loss_without_any_success_is_told_with_what_to_do(endings: list[Ending], told: str | None) -> None:
    found = without_success({"mse": list(ended(*endings)), "cosine": list(ended(used_up()))})
    assert found == ({} if told is None else {"mse": f"no trial of mse succeeded: {told}"})


def test_failed_trials_are_tried_again_once_each_with_their_settings() -> None:
    trials = ended(failed(), diverged(1), used_up(), failed())
    try_again(trials, study_seed=5)
    try_again(trials, study_seed=5)
    assert [(trial.number, trial.state, trial.retry_of) for trial in trials] == [
        (0, "failed", None), (1, "pruned", None), (2, "complete", None), (3, "failed", None),
        (4, "paused", 0), (5, "paused", 3),
    ]  # fmt: skip
    assert [trials[number].point for number in (4, 5)] == [trials[number].point for number in (0, 3)]
    assert [trial.number for trial in lost_trials(trials)] == [1]
    trials.end(4, failed())
    assert [trial.number for trial in failed_trials(trials)] == [4]
    try_again(trials, study_seed=5)
    assert [trial.retry_of for trial in trials][4:] == [0, 3, 4]
