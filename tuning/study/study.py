"""A study: its spec, its files, its trials."""

import secrets
from collections.abc import Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from losstune.trainer.base.errors import UserError, translating
from losstune.trainer.base.files import make_folder, sealed
from losstune.trainer.base.yaml_file import dump_yaml
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.failures import STORAGE_FAILURES, storage_reason
from losstune.tuning.storage.home import STUDIES, Home
from losstune.tuning.storage.passwords import masked
from losstune.tuning.storage.plain_files import check_inside
from losstune.tuning.storage.study_files import SPEC_FILE, StudyFiles
from losstune.tuning.storage.trial_store import TrialStore
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.loss_trials import LossTrials, read_dropped, read_trials
from losstune.tuning.study.spec import KEPT_DATA, StudySpec, WarmStart, git_commit, read_spec, utc_now
from losstune.tuning.study.trial import TrialView
from losstune.tuning.study.unrecorded import unrecorded, unrecorded_text
from losstune.tuning.study.users_code import code_digests
from losstune.tuning.study.versions import versions_now

TRIALS = "trials"


@dataclass(frozen=True)
class Study:
    """An existing study: ``ROOT/studies/NAME`` and what its spec says."""

    home: Home
    spec: StudySpec

    @cached_property
    def files(self) -> StudyFiles:
        """How its files are read and written."""
        return self.home.files(self.spec.name, self.spec.id)

    @cached_property
    def store(self) -> TrialStore:
        """Where its trials are."""
        return self.home.trial_store(self.spec.name, self.spec.id)

    @property
    def folder(self) -> Path:
        """``ROOT/studies/NAME``, absolute; of a study in a bucket it has copies."""
        return self.files.folder

    @property
    def is_elsewhere(self) -> bool:
        """Whether its trials are in another kind of storage than this place has."""
        return self.spec.trials_in not in (None, self.store.kind)

    @property
    def keeps_data(self) -> bool:
        """Whether its data is arrays in its own folder."""
        return self.spec.data_source == KEPT_DATA

    @property
    def data_source(self) -> str:
        """Its data as ``--data`` takes it; what it keeps itself is where its folder is now."""
        return str(self.folder / KEPT_DATA) if self.keeps_data else self.spec.data_source

    @property
    def data_settings(self) -> dict[str, Any]:
        """Where its data is now, as flat training settings: those of runs of before may name a former place."""
        return {"data": self.data_source, "columns": self.spec.columns}

    @property
    def trials_folder(self) -> Path:
        """Where each trial has its own folder."""
        return self.folder / TRIALS

    def storage(self) -> BaseStorage:
        """Optuna's storage of this study.

        Raises:
            UserError: it can not be read, or holds another study of this name.
        """
        return self.store.open(self.spec.spaces)

    def optuna_name(self, loss: str, generation: int | None = None) -> str:
        """What the Optuna study of a loss is called: ``infonce``, and ``infonce@2`` once its space has grown.

        Args:
            generation: which of the spaces that the loss has had, from 1; None for the one in which it goes on.
        """
        return self.store.optuna_name(_in_generation(loss, generation or self.spec.generation(loss)))

    def optuna_names(self, loss: str) -> list[str]:
        """All Optuna studies that a loss may have: one for each of its spaces, and a copy that was cut short."""
        return [self.optuna_name(loss, number) for number in range(1, self.spec.generation(loss) + 2)]

    def open_trials(self, storage: BaseStorage) -> dict[str, LossTrials]:
        """The trials of every loss, to be written, unchecked; creates what is missing."""
        objective = self.spec.settings.objective
        return {
            loss: LossTrials(storage, loss, space, self.optuna_name(loss), self.spec.id, objective)
            for loss, space in self.spec.search_spaces().items()
        }

    def trials(self, storage: BaseStorage | None = None) -> dict[str, list[TrialView]]:
        """All trials of each loss.

        Raises:
            UserError: they can not be read, or there are folders of others, as :meth:`check_recorded` says.
        """
        storage = storage or self.storage()
        with self.store.translating_errors():
            found = {loss: read_trials(storage, loss, self.optuna_name(loss)) for loss in self.spec.spaces}
        self.check_recorded(found)
        return found

    def check_recorded(self, known: Mapping[str, Sized]) -> None:
        """Make sure that the storage is the one which the trials were told to.

        Args:
            known: what it has of a loss; losses that are not named are passed over.

        Raises:
            UserError: there are folders with epochs of trials that it has not; says which, and how to go on.
        """
        missing = unrecorded(self.trials_folder, {loss: len(trials) for loss, trials in known.items()})
        if missing:  # a launch may have begun them since it was read
            now = unrecorded(self.trials_folder, self._counts())
            missing = [name for name in missing if name in now]
        if missing:
            where = self.files.where(self.trials_folder)
            raise UserError(f"study {self.spec.name!r}: {unrecorded_text(missing, self.store, where)}")

    def _counts(self) -> dict[str, int]:
        """How many trials the storage has of each loss now, in whichever of its spaces it has most."""
        storage = self.storage()
        with self.store.translating_errors():
            return {
                loss: max(len(read_trials(storage, loss, name)) for name in self.optuna_names(loss))
                for loss in self.spec.spaces
            }

    def dropped(self, storage: BaseStorage | None = None) -> list[Dropped]:
        """The losses that are out of the race, in the study's order."""
        storage = storage or self.storage()
        with self.store.translating_errors():
            found = [read_dropped(storage, self.optuna_name(loss)) for loss in self.spec.spaces]
        return [Dropped.from_dict(drop) for drop in found if drop]

    def next_attempt(self) -> int:
        """The number of this launch, higher than of any before; to be called by the holder of the lock."""
        return self.store.next_attempt(self.files.newest_attempt())

    def check_held(self) -> None:
        """Make sure that the launch which holds it may go on.

        Raises:
            UserError: it could not be held any longer, or is another launch's by now.
        """
        if self.store.lost:
            raise UserError(f"{self.store.lost}; the same command goes on where it was")

    def save(self) -> None:
        """Write the spec."""
        self.files.write(self.folder / SPEC_FILE, sealed(dump_yaml(self.spec.model_dump())).encode())

    def delete(self) -> None:
        """Remove it for good, its trials first: cut short, it is there to be deleted again."""
        self.store.delete([name for loss in self.spec.spaces for name in self.optuna_names(loss)])
        self.files.delete()


def _in_generation(loss: str, generation: int) -> str:
    return loss if generation == 1 else f"{loss}@{generation}"


def translating_failures(home: Home, name: str) -> AbstractContextManager[None]:
    """Where the files or the trials of a study can not be read or written in this block, it is one message.

    Raises:
        UserError: says why not.
    """
    files = home.files(name)

    def told(error: Exception) -> UserError:
        reason = masked(storage_reason(error))
        return UserError(f"{files.where(files.folder)}: can not be read or written: {reason}")

    return translating(STORAGE_FAILURES, told)


def study_exists(home: Home, name: str) -> bool:
    """Whether there is a study of this name.

    Raises:
        UserError: the name can not be a folder's.
    """
    path = home.folder(name) / SPEC_FILE
    home.files(name).keep(path)
    return path.exists()


def open_study(home: Home, name: str) -> Study:
    """An existing study.

    Raises:
        UserError: there is none of this name; says which there are. Or its trials are not where this place has them.
    """
    study = found_study(home, name)
    if study.is_elsewhere:
        where = f"study {name!r} in {home.where}/{STUDIES}"
        option = "--study-storage or LOSSTUNE_STUDY_STORAGE"
        if study.store.kind == "file":
            raise UserError(f"{where} has its trials in a database, and none is named: {option} names it")
        raise UserError(f"{where} has its trials in its own folder, not in {study.store}: go on without {option}")
    return study


def found_study(home: Home, name: str) -> Study:
    """The same wherever its trials are: it may be asked for no more than its spec.

    Raises:
        UserError: there is none of this name; says which there are.
    """
    path = home.folder(name) / SPEC_FILE
    check_inside(path.parent)
    if not study_exists(home, name):
        names = ", ".join(home.names()) or "none"
        raise UserError(f"no study {name!r} in {home.where}/{STUDIES}; found: {names}")
    return Study(home, read_spec(path, name))


def create_study(
    home: Home,
    name: str,
    spaces: list[SearchSpace],
    settings: StudySettings,
    data_source: str,
    data_digest: str,
    columns: str | None = None,
    data_notes: Sequence[str] = (),
    warm_start: WarmStart | None = None,
) -> Study:
    """Write a new study's folder and spec."""
    spec = StudySpec(
        name=name,
        created=utc_now(),
        data_source=data_source,
        columns=columns,
        data_digest=data_digest,
        data_notes=list(data_notes),
        warm_start=warm_start,
        settings=settings,
        spaces={space.name: dict(space.source) for space in spaces},
        versions=versions_now(),
        git_commit=git_commit(),
        code=code_digests(spaces, data_source),
        trials_in=home.trial_store(name).kind,
        id=secrets.token_hex(8),
    )
    study = Study(home, spec)
    make_folder(study.trials_folder)
    study.store.create()  # before the spec: a study that can be read has a storage
    study.save()
    return study
