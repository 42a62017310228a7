"""Checks a study's parts against each other before it is continued: damage is found, and nothing trains on it.

Optuna's storage and the trials' own files hold the same numbers twice. A flipped bit in a database can pass SQLite's
own check, so every ended trial's result, rungs and settings are compared with its history and config.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import check_seal
from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.run.history import read_history, read_whole_lines
from losstune.trainer.run.layout import CONFIG_FILE, HISTORY_FILE
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.storage.failures import storage_reason
from losstune.tuning.storage.passwords import masked
from losstune.tuning.storage.sqlite_store import BACKUP_ADVICE, STORAGE_FILE
from losstune.tuning.storage.trial_store import find_study
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.grown import unlike_before
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TIME_BUDGET, TrialView, trial_name
from losstune.tuning.study.unrecorded import unrecorded

SHOWN = 5
"""Findings that a refusal lists."""


def audited_trials(study: Study) -> dict[str, LossTrials]:
    """The trials of every loss, once Optuna's storage and the trials' own files are found to agree.

    Raises:
        UserError: one of them is damaged; says which, and what to do.
    """
    store = study.store
    study.files.update()
    try:
        store.check_whole()
        if not unrecorded(study.trials_folder, dict.fromkeys(study.spec.spaces, 0)):
            store.create()  # nothing has trained: the launch that began it may have ended before there was one
        storage = study.storage()
        if unknown := _unknown(study, storage):
            raise UserError(f"{store}: damaged (it holds {', '.join(unknown)}); {BACKUP_ADVICE}")
        study.check_recorded(_absent(study, storage))  # nothing is written into a storage that is another's
        trials = study.open_trials(storage)
        study.check_recorded(trials)
        spaces = {loss: own.space for loss, own in trials.items()}
        numbering = [text for loss, own in trials.items() for text in _numbering(loss, own.stored_numbers)]
        _refuse(study, numbering + _differences(study, trials, spaces) + list(unlike_before(study, storage, trials)))
    except (UserError, OSError):
        raise
    except Exception as error:  # on bytes that are not as it wrote them, Optuna raises whatever it stumbles over
        if not store.tells_damage(error):
            raise
        reason = masked(storage_reason(error))
        raise UserError(f"{store}: damaged ({type(error).__name__}: {reason}); {BACKUP_ADVICE}") from None
    return trials


def sound_trials(study: Study) -> dict[str, list[TrialView]]:
    """The trials of every loss, checked alike, of a study that is read only: another launch may hold it now.

    Raises:
        UserError: one of them is damaged; says which, and what to do.
    """
    study.store.check_whole()
    trials = study.trials()
    study.files.update()  # after the trials, so that no file is older than what the storage says of it
    study.check_recorded(trials)
    numbering = [text for loss, own in trials.items() for text in _numbering(loss, [trial.number for trial in own])]
    found = numbering + _differences(study, trials, study.spec.search_spaces())
    _refuse(study, found + list(unlike_before(study, study.storage(), trials)))
    return trials


def _unknown(study: Study, storage: BaseStorage) -> list[str]:
    """What the storage holds under this study's name that is none of its losses."""
    known = {name for loss in study.spec.spaces for name in study.optuna_names(loss)}
    own = study.store.optuna_name("")
    return sorted(
        found.study_name
        for found in storage.get_all_studies()
        if found.study_name not in known and found.study_name.startswith(own)
    )


def _absent(study: Study, storage: BaseStorage) -> dict[str, tuple[()]]:
    """The losses of which the storage has nothing, without a trial each."""
    return {loss: () for loss in study.spec.spaces if find_study(storage, study.optuna_name(loss)) is None}


def _differences(
    study: Study, trials: Mapping[str, Iterable[TrialView]], spaces: Mapping[str, SearchSpace]
) -> list[str]:
    """Where the storage and the trials' files disagree."""
    return [text for loss, own in trials.items() for trial in own for text in _findings(study, trial, spaces[loss])]


def _refuse(study: Study, findings: list[str]) -> None:
    """Refuse a study of which anything was found."""
    if findings:
        more = f"\n… and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
        raise UserError(
            f"study {study.spec.name!r}: {study.store.word} and the trials' own files do not agree, one of them is "
            "damaged:\n"
            + "\n".join(findings[:SHOWN]).replace(STORAGE_FILE, study.store.word)
            + more
            + f"\nRestore the damaged file from a backup. Where it is the trial's, moving the trial's folder out of "
            f"{study.files.where(study.trials_folder)} goes on with {study.store.word} alone."
        )


def _numbering(loss: str, numbers: Iterable[int]) -> Iterator[str]:
    """Numbers that are not those in which trials came, which are also in their names."""
    for place, number in enumerate(numbers):
        if number != place:
            yield f"{STORAGE_FILE}: {trial_name(loss, place)} has the number {number}"


def _findings(study: Study, trial: TrialView, space: SearchSpace) -> Iterator[str]:
    """What is wrong with one trial; a folder that is gone can not contradict."""
    folder, settings = study.trials_folder / trial.name, study.spec.settings
    yield from _inside_storage(trial, space, settings.rungs)
    if trial.ending is None:
        yield from _unfinished(folder, trial, space, settings.objective)
        return
    if trial.ending.state == "failed" or not folder.exists():
        return
    try:
        records = read_history(folder / HISTORY_FILE)
        if records or trial.epochs or (folder / CONFIG_FILE).exists():  # else its worker was killed before it wrote any
            yield from _config(folder / CONFIG_FILE, trial, space)
    except UserError as error:
        yield str(error)
        return
    yield from _numbers(folder / HISTORY_FILE, trial, [record.get(settings.objective, math.nan) for record in records])


def _inside_storage(trial: TrialView, space: SearchSpace, rungs: tuple[int, ...]) -> Iterator[str]:
    """What the storage says of a trial twice, in its end and where Optuna's samplers look."""
    ending, name = trial.ending, f"{STORAGE_FILE}: {trial.name}"
    known = distributions(space)
    if missing := [p.name for p in space.parameters if p.active(trial.point) != (p.name in trial.point)]:
        yield f"{name}: {', '.join(missing)} is missing, or too much"
    for parameter, distribution in trial.distributions.items():
        if distribution != known.get(parameter):
            yield f"{name}: {parameter} is from {distribution}, in the study's space {known.get(parameter)}"
    if ending is None:
        return
    if trial.state not in (ending.state, "running", "paused"):
        yield f"{name} is {trial.state}, its end says {ending.state}"
    expected = None if ending.diverged else ending.best
    unvalued = trial.state == "pruned" and trial.value is None  # as earlier releases wrote it
    if trial.state in ("complete", "pruned") and not unvalued and trial.value != expected is not None:
        yield f"{name} has the value {trial.value}, its end says {ending.best}"
    if unknown := sorted(epoch for epoch in trial.rungs if epoch not in (*rungs, ending.epochs)):
        yield f"{name} has values at epochs {unknown}, where no rung is"
    last = trial.rungs.get(ending.epochs)
    if last is not None and math.isnan(last) != (ending.diverged or ending.best is None):
        yield f"{name} ended as {ending.reason!r}, with {last} at its last epoch"


def _unfinished(folder: Path, trial: TrialView, space: SearchSpace, objective: str) -> Iterator[str]:
    """What was told of a trial that is to go on, as far as its files reach: it may be trained again from before."""
    if (folder / CONFIG_FILE).exists():
        with suppress(UserError):  # it is written again
            yield from _config(folder / CONFIG_FILE, trial, space)
    records, _ = read_whole_lines(folder / HISTORY_FILE)
    yield from _rungs(folder / HISTORY_FILE, trial, [record.get(objective, math.nan) for record in records])


def _config(path: Path, trial: TrialView, space: SearchSpace) -> Iterator[str]:
    if trial.is_whole:
        check_seal(path)
        return
    settings = read_run_settings(path)
    differences = [(name, value) for name, value in _expected(space, trial).items() if settings.get(name) != value]
    for name, value in differences:
        yield f"{path}: {name} is {settings.get(name)}, in {STORAGE_FILE} {value}"
    if not differences:
        yield f"{STORAGE_FILE}: {trial.name}: its parameters do not match their checksum"


def _rungs(path: Path, trial: TrialView, values: list[float]) -> Iterator[str]:
    for epoch, value in trial.rungs.items():
        so_far = max((v for v in values[:epoch] if not math.isnan(v)), default=-math.inf)
        if epoch <= len(values) and not math.isnan(value) and value != so_far:
            yield f"{path}: best value up to epoch {epoch} is {so_far}, {STORAGE_FILE} says {value}"


def _numbers(path: Path, trial: TrialView, values: list[float]) -> Iterator[str]:
    ending = trial.ending
    assert ending is not None
    if ending.reason == TIME_BUDGET:  # its worker may have been in the middle of an epoch
        values = values[: ending.epochs]
    if len(values) != ending.epochs:
        yield f"{path}: holds {len(values)} epochs, {STORAGE_FILE} says {ending.epochs}"
        return
    judged = values[:-1] if ending.diverged else values  # the epoch in which it diverged does not count
    best = max((value for value in judged if not math.isnan(value)), default=None)
    if best != ending.best:
        yield f"{path}: best value {best}, {STORAGE_FILE} says {ending.best}"
    elif best is not None and values.index(best) + 1 != ending.best_epoch:
        yield f"{path}: best value at epoch {values.index(best) + 1}, {STORAGE_FILE} says {ending.best_epoch}"
    yield from _rungs(path, trial, values)


def _expected(space: SearchSpace, trial: TrialView) -> dict[str, Any]:
    try:
        return space.settings(trial.point)
    except ValueError:  # a derived value that can not be computed: such a trial never ran
        return {}
