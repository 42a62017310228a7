"""Checks a study's parts against each other before it is continued: damage is found, and nothing trains on it.

Optuna's storage and the trials' own files hold the same numbers twice. A flipped bit in a database can pass SQLite's
own check, so every ended trial's result, rungs and settings are compared with its history and config.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.run_dir import CONFIG_FILE, HISTORY_FILE, read_history, read_run_config
from tuning.space import SearchSpace
from tuning.study import STORAGE_FILE, Study
from tuning.trials import TrialView

SHOWN = 5
"""Findings that a refusal lists."""


def check_storage(study: Study) -> None:
    """Refuse a damaged Optuna storage.

    Raises:
        UserError: SQLite finds it damaged.
    """
    path = study.folder / STORAGE_FILE
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as storage:
            found = storage.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise UserError(f"{path}: damaged ({found}); restore it from a backup, or start another study")


def check_trials(study: Study, trials: Mapping[str, Iterable[TrialView]], spaces: Mapping[str, SearchSpace]) -> None:
    """Refuse a study whose storage and trial files disagree.

    Raises:
        UserError: what differs, and what to do.
    """
    findings = [
        text
        for loss_fn, own in trials.items()
        for trial in own
        for text in _findings(study.trials_folder / trial.name, trial, spaces[loss_fn], study.spec.settings.objective)
    ]
    if findings:
        more = f"\n… and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
        raise UserError(
            f"study {study.spec.name!r}: {STORAGE_FILE} and the trials' own files do not agree, one of them is "
            "damaged:\n"
            + "\n".join(findings[:SHOWN])
            + more
            + f"\nRestore the damaged file from a backup. Where it is the trial's, moving the trial's folder out of "
            f"{study.trials_folder} goes on with {STORAGE_FILE} alone."
        )


def _findings(folder: Path, trial: TrialView, space: SearchSpace, objective: str) -> Iterator[str]:
    """What is wrong with one ended trial; a folder that is gone can not contradict."""
    ending = trial.ending
    if ending is None or ending.state == "failed" or not folder.exists():
        return
    try:
        records = read_history(folder / HISTORY_FILE)
        settings = read_run_config(folder / CONFIG_FILE).settings
    except UserError as error:
        yield str(error)
        return
    yield from _numbers(folder / HISTORY_FILE, trial, [record.get(objective, math.nan) for record in records])
    for name, value in _expected(space, trial).items():
        if settings.get(name) != value:
            yield f"{folder / CONFIG_FILE}: {name} is {settings.get(name)}, in {STORAGE_FILE} {value}"


def _numbers(path: Path, trial: TrialView, values: list[float]) -> Iterator[str]:
    ending = trial.ending
    assert ending is not None
    if len(values) != ending.epochs:
        yield f"{path}: holds {len(values)} epochs, {STORAGE_FILE} says {ending.epochs}"
        return
    best = max((value for value in values if not math.isnan(value)), default=None)
    if best != ending.best:
        yield f"{path}: best value {best}, {STORAGE_FILE} says {ending.best}"
    for epoch, value in trial.rungs.items():
        so_far = max((v for v in values[:epoch] if not math.isnan(v)), default=-math.inf)
        if not math.isnan(value) and value != so_far:
            yield f"{path}: best value up to epoch {epoch} is {so_far}, {STORAGE_FILE} says {value}"


def _expected(space: SearchSpace, trial: TrialView) -> dict[str, Any]:
    try:
        return space.settings(trial.point)
    except ValueError:  # a derived value that can not be computed: such a trial never ran
        return {}
