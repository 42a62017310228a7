"""Trials that have trained and are not in the storage: it is another one than theirs, or an earlier state of it."""

from collections.abc import Mapping
from pathlib import Path

from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.storage.trial_store import TrialStore
from losstune.tuning.study.trial import trial_name

SHOWN = 4
"""Folders that a refusal names."""


def unrecorded(trials_folder: Path, counts: Mapping[str, int]) -> list[str]:
    """Names of the folders that hold epochs of a trial whose number is not given yet, sorted.

    A trial is in the storage before it has a folder, so no launch leaves one, wherever it is killed.

    Args:
        counts: how many trials are known of each loss; folders of other losses are passed over.
    """
    if not trials_folder.is_dir():
        return []
    return sorted(run.name for run in trials_folder.iterdir() if _is_beyond(run.name, counts) and _has_epochs(run))


def unrecorded_text(names: list[str], store: TrialStore, where: str) -> str:
    """What was found, and how to go on; ``where`` is the folder that they are in."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"{store} does not know {', '.join(names[:SHOWN])}{more} in {where}, which have trained: it is not the storage "
        f"that they were told to, or an earlier state of it, or damaged; restore it from a backup; {store.elsewhere}. "
        f"To go on without these trials, move their folders out of {where}."
    )


def _is_beyond(name: str, counts: Mapping[str, int]) -> bool:
    loss, _, number = name.rpartition("-")  # a loss's own name may have hyphens
    if loss not in counts or not number.isdecimal() or trial_name(loss, int(number)) != name:
        return False
    return int(number) >= counts[loss]


def _has_epochs(run: Path) -> bool:
    history = run / HISTORY_FILE
    return history.is_file() and history.stat().st_size > 0
