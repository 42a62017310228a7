"""Trials that gave nothing: why, and how often."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from losstune.tuning.storage.run_places import ERROR_FILE
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import DIVERGED, TIME_BUDGET, TrialView, best_trial, cause_of

SHOWN = 2
"""Reasons that a line names."""
GIVEN_UP_AFTER = 10
"""Failed trials after which a loss without any value gets no more.

Where half the points of a space can not be trained, the first ten all fail in one of a thousand studies; where nothing
can be, no more than ten are lost.
"""


def lost_trials(trials: Iterable[TrialView]) -> list[TrialView]:
    """The ended trials of a loss that have no value, failed or diverged, but those that were tried again."""
    known = [trial for trial in trials if not _tried_in_name_only(trial)]
    retried = {trial.retry_of for trial in known}
    ended = (trial for trial in known if trial.ending is not None and trial.number not in retried)
    return [trial for trial in ended if best_trial([trial]) is None]


def _tried_in_name_only(trial: TrialView) -> bool:
    """Whether it was to try another one again, and time ended it before its first epoch."""
    ending = trial.ending
    return trial.retry_of is not None and ending is not None and ending.epochs == 0 and ending.reason == TIME_BUDGET


def given_up(trials: LossTrials | Sequence[TrialView], waiting: int = 0) -> bool:
    """Whether a loss gets no new trial, because its first ones have failed and there is no value yet.

    That depends on what the truth says alone, so a study that was interrupted comes to the same. A value at a rung
    counts, and so does a trial that diverged: both trained. Failed trials that are tried again count no more.

    Args:
        waiting: how many of its trials found no room on their GPU in this launch: they spend nothing until they run
            alone at its end, so that many are enough whatever the others had.
    """
    if waiting >= GIVEN_UP_AFTER:
        return True
    if any(trial.rank_value > -math.inf or (trial.ending and trial.ending.diverged) for trial in trials):
        return False
    return len(failed_trials(trials)) + waiting >= GIVEN_UP_AFTER


def given_up_text(title: str, trials: LossTrials | Sequence[TrialView]) -> str:
    """That it is, why, and how to go on."""
    failed = failed_trials(trials)
    reasons = Counter(cause_of(trial.ending.reason) for trial in failed if trial.ending)
    ((reason, count),) = reasons.most_common(1)
    told = reason if count == len(failed) else f"{count} of them: {reason}"
    return (
        f"{title} starts no more trials: {len(failed)} have failed, and none has a value ({told}); once the cause is "
        "mended, the same command with --retry-failed tries them again and goes on"
    )


def reasons_text(study: Study, lost: Iterable[TrialView]) -> str:
    """``no such file (2 trials of cosine, 1 of mse; …/error.txt); diverged (1 trial of mse)``.

    The commonest reasons, each once, with its count and with the file of the first traceback, where there is one.
    """
    by_reason: dict[str, list[TrialView]] = {}
    for trial in lost:
        if trial.ending:
            by_reason.setdefault(cause_of(trial.ending.reason), []).append(trial)
    common = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    told = [f"{reason} ({_counts(own)}{_traceback(study, own[0])})" for reason, own in common[:SHOWN]]
    others = sum(len(own) for _, own in common[SHOWN:])
    return "; ".join([*told, f"other reasons ({others})"] if others else told)


def _counts(trials: list[TrialView]) -> str:
    """``2 trials of cosine, 1 of mse``."""
    counts = Counter(trial.loss for trial in trials)
    texts = [f"{count} of {loss}" for loss, count in counts.most_common()]
    first, noun = counts.most_common(1)[0][1], "trial"
    return ", ".join([texts[0].replace(" of", f" {noun}{'s' * (first > 1)} of", 1), *texts[1:]])


def _traceback(study: Study, trial: TrialView) -> str:
    """Where the whole text of what ended a trial is kept; "" for an end without one, as a worker that died."""
    path = study.trials_folder / trial.name / ERROR_FILE
    study.files.keep(path)
    return f"; {study.files.where(path)}" if path.exists() else ""


def in_vain(trials: Mapping[str, list[TrialView]]) -> list[str]:
    """The losses whose trials have all ended, none with a value."""
    return [
        loss
        for loss, own in trials.items()
        if lost_trials(own) and best_trial(own) is None and all(trial.ending for trial in own)
    ]


def in_vain_text(study: Study, trials: Mapping[str, list[TrialView]]) -> str:
    """What the trials of these losses ended with, and what to do about it."""
    losses = in_vain(trials)
    lost = [trial for loss in losses for trial in lost_trials(trials[loss])]
    return "; ".join([f"no trial of {' and '.join(losses)} succeeded: {reasons_text(study, lost)}", *_advice(lost)])


def failed_trials(trials: Iterable[TrialView]) -> list[TrialView]:
    """Those of the lost that can be tried again: one that diverged does so again."""
    return [trial for trial in lost_trials(trials) if trial.state == "failed"]


def try_again(trials: LossTrials, study_seed: int) -> None:
    """Add a trial with the settings of each failed one, to be run by this launch: an ended trial stays as it is."""
    for trial in failed_trials(trials):
        seed = derived_seed(study_seed, trials.loss, len(trials))
        trials.pause(trials.add(trial.point, seed, retry_of=trial.number))


def _advice(lost: list[TrialView]) -> Iterator[str]:
    """What to do, by what happened."""
    if failed_trials(lost):
        yield "once the cause is mended, the same command with --retry-failed tries failed trials again"
    diverged = [trial.ending.reason for trial in lost if trial.ending and trial.ending.diverged]
    if diverged:
        yield "what diverged does so again: begin another study, with a lower lr or a clip_norm in its space"
    if DIVERGED in diverged:
        yield "with --debug-nan it says where the first NaN or infinity arises"
    if all(trial.ending and trial.ending.reason == TIME_BUDGET for trial in lost):
        yield "give it more --time-budget"
