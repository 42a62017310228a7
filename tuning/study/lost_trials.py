"""Trials that gave nothing: why, and how often."""

from collections import Counter
from collections.abc import Iterable, Mapping

from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.trial import DIVERGED, TrialView, best_trial

SHOWN = 2
"""Reasons that a line names."""


def lost_trials(trials: Iterable[TrialView]) -> list[TrialView]:
    """The ended trials of a loss that have no value, failed or diverged, but those that were tried again."""
    known = list(trials)
    retried = {trial.retry_of for trial in known}
    ended = (trial for trial in known if trial.ending is not None and trial.number not in retried)
    return [trial for trial in ended if best_trial([trial]) is None]


def reasons_text(lost: Iterable[TrialView]) -> str:
    """``diverged (3 trials), its worker died (1)``: the commonest reasons, each with its count."""
    reasons = Counter(trial.ending.reason for trial in lost if trial.ending)
    common = [f"{reason} ({count} trial{'s' * (count > 1)})" for reason, count in reasons.most_common(SHOWN)]
    others = reasons.total() - sum(count for _, count in reasons.most_common(SHOWN))
    return "; ".join([*common, f"other reasons ({others})"] if others else common)


def without_success(trials: Mapping[str, list[TrialView]]) -> dict[str, str]:
    """Of each loss whose trials have all ended without a value: what they ended with, and what to do."""
    return {
        loss: f"no trial of {loss} succeeded: {reasons_text(lost)}; {_advice(lost)}"
        for loss, own in trials.items()
        if (lost := lost_trials(own)) and best_trial(own) is None and all(trial.ending for trial in own)
    }


def failed_trials(trials: Iterable[TrialView]) -> list[TrialView]:
    """Those of the lost that can be tried again: one that diverged does so again."""
    return [trial for trial in lost_trials(trials) if trial.state == "failed"]


def try_again(trials: LossTrials, study_seed: int) -> None:
    """Add a trial with the settings of each failed one, to be run by this launch: an ended trial stays as it is."""
    for trial in failed_trials(trials):
        seed = derived_seed(study_seed, trials.loss_fn, len(trials))
        trials.pause(trials.add(trial.point, seed, retry_of=trial.number))


def _advice(lost: list[TrialView]) -> str:
    if failed_trials(lost):
        return "once the cause is mended, the same command with --retry-failed tries failed trials again"
    if any(trial.ending and trial.ending.reason == DIVERGED for trial in lost):
        return "begin another study, with a lower lr or a clip_norm in its space"
    return "the same command goes on"
