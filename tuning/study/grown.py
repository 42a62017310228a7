"""A loss goes on in a space that has grown: its trials, copied to an Optuna study that takes the space's new choices.

The spec says of which generation a loss's space is, and with that which of its Optuna studies counts. The copy is made
first and the spec written after it: a launch that dies in between leaves the study as it was, and a copy nothing reads.
The Optuna study of before stays, as what the trials were drawn from.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from losstune.tuning.space.growth import Growth, growth
from losstune.tuning.space.search_space import Point
from losstune.tuning.storage.sqlite_store import STORAGE_FILE
from losstune.tuning.storage.trial_store import find_study, remove_study
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.loss_trials import DIGEST, DROPPED, GROWN_AT, read_trials
from losstune.tuning.study.quiet_optuna import quiet_optuna
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, point_digest, trial_name


def copy_trials(before: Study, now: Study) -> dict[str, int]:
    """Copy the trials of each loss whose space has grown, and say how many; to be called by the study's holder.

    Numbers, ends, values, seeds, times and what is to go on stay as they are. What an earlier call left is removed. A
    loss that was dropped from a race is in it again: it was judged by what the space of before could give.

    Args:
        before: the study as its spec is written, audited.
        now: the same in its new spaces, whose spec is to be written once this has returned.
    """
    storage, spaces = before.storage(), now.spec.search_spaces()
    copied = {}
    for loss, former in before.spec.search_spaces().items():
        if now.spec.generation(loss) > before.spec.generation(loss):
            change = growth(former, spaces[loss])
            copied[loss] = _copy(storage, before.optuna_name(loss), now.optuna_name(loss), change)
    return copied


@quiet_optuna()
def _copy(storage: BaseStorage, before: str, now: str, change: Growth) -> int:
    remove_study(storage, now)
    source = find_study(storage, before)
    assert source is not None, "an audited study has all of its Optuna studies"
    target = storage.create_new_study([StudyDirection.MAXIMIZE], now)
    known, trials = distributions(change.now), storage.get_all_trials(source, deepcopy=False)
    kept = {key: value for key, value in storage.get_study_user_attrs(source).items() if key != DROPPED}
    for key, value in (kept | {GROWN_AT: len(trials)}).items():
        storage.set_study_user_attr(target, key, value)
    for key, value in storage.get_study_system_attrs(source).items():  # what its values are called
        storage.set_study_system_attr(target, key, value)
    for trial in trials:  # Study.add_trial takes none that has not ended; the storage does
        storage.create_new_trial(target, template_trial=_moved(trial, change, known))
    return len(trials)


def _moved(trial: FrozenTrial, change: Growth, known: Mapping[str, BaseDistribution]) -> FrozenTrial:
    point = change.point(trial.params)
    moved = copy.copy(trial)
    moved.params = point
    moved.distributions = {name: known[name] for name in point}
    if trial.user_attrs.get(DIGEST) == point_digest(trial.params, trial.distributions):
        moved.user_attrs = {**trial.user_attrs, DIGEST: point_digest(point, moved.distributions)}
    return moved


def unlike_before(study: Study, storage: BaseStorage, trials: Mapping[str, Iterable[TrialView]]) -> Iterator[str]:
    """Where a trial is not what it was in a space that its loss had before."""
    spaces = study.spec.search_spaces()
    for loss in study.spec.grown:
        now = list(trials[loss])
        for generation, former in enumerate(study.spec.earlier_spaces(loss), start=1):
            change = growth(former, spaces[loss])
            before = read_trials(storage, loss, study.optuna_name(loss, generation))
            for place, trial in enumerate(before):
                told = _unlike(trial, change.point(trial.point), now[place]) if place < len(now) else "is gone"
                if told or trial.number != place:
                    told = told or f"has the number {trial.number} there"
                    yield f"{STORAGE_FILE}: {trial_name(loss, place)}, also kept as before its space grew, {told}"


def _unlike(before: TrialView, point: Point, now: TrialView) -> str:
    if point != now.point:
        return f"has the parameters {now.point}, there {point}"
    if before.ending not in (None, now.ending):
        return f"ended as {now.ending}, there {before.ending}"
    return ""
