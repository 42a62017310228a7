"""Trials that gave nothing are counted by reason, and the failed ones tried again, once each."""

from dataclasses import replace
from pathlib import Path

import pytest

from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.lost_trials import (
    failed_trials,
    given_up,
    given_up_text,
    in_vain,
    in_vain_text,
    lost_trials,
    reasons_text,
    try_again,
)
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import Ending
from tests.tuning.reported import searched
from tests.tuning.samples import CONTINUOUS, cut, diverged, failed, new_trials, space_of, used_up

AGAIN = "once the cause is mended, the same command with --retry-failed tries failed trials again"
CALMER = "what diverged does so again: begin another study, with a lower lr or a clip_norm in its space"
WHERE = "with --debug-nan it says where the first NaN or infinity arises"


def ended(*endings: Ending | None) -> LossTrials:
    trials = new_trials(space_of(CONTINUOUS))
    for number, ending in enumerate(endings):
        trials.add({"lr": 0.001 * (number + 1), "model.dropout": 0.5}, seed=number)
        if ending is not None:
            trials.end(number, ending)
    return trials


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (0, 0))


def nan_at(when: str) -> Ending:
    return replace(diverged(1), reason=f"diverged: first NaN in `log` at own.py:3 (Own.forward), {when}")


def broken(reason: str) -> Ending:
    return Ending("failed", reason, 1, None, 0)


def test_reasons_are_told_with_their_counts_the_commonest_first(study: Study) -> None:
    kinds = [broken("no such file"), diverged(2, 0.9), broken("no such file"), cut(0.3, 3), failed(), diverged(1)]
    trials = ended(*kinds, None, diverged(3))
    lost = lost_trials(trials)
    assert [trial.number for trial in lost] == [0, 1, 2, 4, 5, 7]
    told = "diverged (3 trials of mse); no such file (2 trials of mse); other reasons (1)"
    assert reasons_text(study, lost) == told
    assert reasons_text(study, lost[:1]) == "no such file (1 trial of mse)"


def test_a_reason_that_losses_share_is_told_once_with_the_file_of_its_traceback(study: Study) -> None:
    mse, cosine = (replace(trial, loss=loss) for loss in ("mse", "cosine") for trial in ended(broken("no file")))
    folder = study.trials_folder / "mse-0000"
    folder.mkdir()
    (folder / "error.txt").touch()
    told = f"no file (2 trials of mse, 1 of cosine; {folder}/error.txt)"
    assert reasons_text(study, [mse, mse, cosine]) == told
    assert in_vain_text(study, {"mse": [mse, mse], "cosine": [cosine], "huber": []}) == (
        f"no trial of mse and cosine succeeded: {told}; {AGAIN}"
    )


@pytest.mark.parametrize(
    ("endings", "told"),
    [
        ([failed(), failed()], f"its worker died (2 trials of mse); {AGAIN}"),
        (
            [failed(), diverged(1)],
            f"its worker died (1 trial of mse); diverged (1 trial of mse); {AGAIN}; {CALMER}; {WHERE}",
        ),
        ([diverged(1, 0.9)], f"diverged (1 trial of mse); {CALMER}; {WHERE}"),
        (
            [nan_at("in epoch 1, batch 2"), nan_at("in epoch 2, batch 1"), nan_at("validating after epoch 2")],
            f"diverged: first NaN in `log` at own.py:3 (Own.forward) (3 trials of mse); {CALMER}",
        ),
        ([Ending("pruned", "time budget", 0, None, 0)], "time budget (1 trial of mse); give it more --time-budget"),
        ([failed(), used_up()], None),
        ([failed(), cut(0.1, 3)], None),
        ([failed(), None], None),
        ([], None),
    ],
)
def test_a_loss_without_any_success_is_told_with_what_to_do(
    study: Study, endings: list[Ending], told: str | None
) -> None:
    trials = {"mse": list(ended(*endings)), "cosine": list(ended(used_up()))}
    assert in_vain(trials) == ([] if told is None else ["mse"])
    if told is not None:
        assert in_vain_text(study, trials) == f"no trial of mse succeeded: {told}"


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


OUT_OF_TIME = Ending("pruned", "time budget", 0, None, 0)


def test_a_trial_that_time_ended_before_its_first_epoch_has_tried_nothing_again() -> None:
    trials = ended(failed(), failed())
    try_again(trials, study_seed=5)
    trials.end(2, OUT_OF_TIME)
    trials.end(3, replace(OUT_OF_TIME, epochs=1, best=0.1, best_epoch=1))
    assert [trial.number for trial in lost_trials(trials)] == [0]
    try_again(trials, study_seed=5)
    assert [trial.retry_of for trial in trials] == [None, None, 0, 1, 0]
    assert [trial.number for trial in lost_trials(ended(OUT_OF_TIME))] == [0]


@pytest.mark.parametrize(
    ("endings", "waiting", "expected"),
    [
        ([failed()] * 9, 0, False),
        ([failed()] * 9, 1, True),
        ([failed(), *[broken("no such file")] * 9], 0, True),
        ([*[failed(4)] * 10, None], 0, True),
        ([*[failed()] * 10, OUT_OF_TIME], 0, True),
        ([*[failed()] * 10, diverged(1)], 0, False),
        ([*[failed()] * 10, cut(0.0, 3)], 0, False),
        ([cut(0.0, 3)], 9, False),
        ([cut(0.0, 3)], 10, True),
    ],
)
def test_a_loss_whose_trials_fail_is_given_up_unless_any_had_a_value(
    endings: list[Ending | None], waiting: int, expected: bool
) -> None:
    trials = ended(*endings)
    assert given_up(trials, waiting) == given_up(list(trials), waiting) == expected


def test_what_is_given_up_is_told_with_the_commonest_reason() -> None:
    advice = "once the cause is mended, the same command with --retry-failed tries them again and goes on"
    assert given_up_text("mse", ended(*[failed()] * 10)) == (
        f"mse starts no more trials: 10 have failed, and none has a value (its worker died); {advice}"
    )
    told = given_up_text("mse", ended(*[failed()] * 4, *[broken("no such file")] * 7))
    assert told.partition("; ")[0].endswith("11 have failed, and none has a value (7 of them: no such file)")
