"""What a study asks of the place of its trials, and Optuna's studies there by their names."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Literal, Protocol

from optuna.storages import BaseStorage

from losstune.tuning.storage.database import Database
from losstune.tuning.storage.failures import storage_reason
from losstune.tuning.storage.passwords import masked

Kind = Literal["file", "database"]

OWNER = "losstune_study"
"""Attribute of an Optuna study: the id of the study that its trials belong to."""


class TrialStore(Protocol):
    """Optuna's storage as one study sees it. As text it is the place's name, for messages."""

    @property
    def kind(self) -> Kind:
        """Which of the kinds it is, as a study's spec keeps it: no address, which may hold a password."""

    @property
    def word(self) -> str:
        """The place in a word."""

    @property
    def elsewhere(self) -> str:
        """How a command comes to trials that are not here, in words."""

    @property
    def lost(self) -> str:
        """Why the launch that holds the study must stop, "" while it need not."""

    def optuna_name(self, loss: str) -> str:
        """What the trials of a loss are called in Optuna's storage."""

    def create(self) -> None:
        """Make an empty one for a study that begins, where there is none: who only reads must not.

        Raises:
            OSError: it can not be written.
        """

    def open(self, losses: Iterable[str]) -> BaseStorage:
        """Optuna's storage.

        Args:
            losses: the study's.

        Raises:
            UserError: it is gone, can not be read, or its trials of these losses are another study's.
        """

    def translating_errors(self) -> AbstractContextManager[None]:
        """Whatever goes wrong in this block is one message: on a damaged storage Optuna raises what it stumbles over.

        Raises:
            UserError: it can not be read.
        """

    def check_whole(self) -> None:
        """Refuse what is found damaged without Optuna.

        Raises:
            UserError: says what is damaged, and what to do.
            OSError: it can not be read now.
        """

    def tells_damage(self, error: Exception) -> bool:
        """Whether an error of reading it means that it is damaged, not that it can not be used now."""

    def next_attempt(self, newest: int) -> int:
        """The number of this launch: higher than of any before, and than ``newest``. Its holder asks."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove these of Optuna's studies, as far as they do not go with the study's folder."""

    def held(self) -> AbstractContextManager[Database | None]:
        """Hold the study for one launch. Gives the database as its holder is to use it, None where there is none.

        Raises:
            UserError: another process holds it; says which.
        """

    def is_held(self) -> bool:
        """Whether a launch holds the study now."""


def unreadable_text(store: TrialStore, error: Exception) -> str:
    """What is said of a place that can not be read."""
    return f"{store}: can not be read: {masked(storage_reason(error))}"


def find_study(storage: BaseStorage, name: str) -> int | None:
    """Optuna's number of one of its studies, None if there is none of this name."""
    with suppress(KeyError):
        return storage.get_study_id_from_name(name)
    return None


def remove_study(storage: BaseStorage, name: str) -> None:
    """Remove one of Optuna's studies, where there is one of this name."""
    if (study_id := find_study(storage, name)) is not None:
        storage.delete_study(study_id)


def read_owner(storage: BaseStorage, name: str) -> str | None:
    """The study that the trials of an Optuna study belong to; None where that is not said, or there is none."""
    study_id = find_study(storage, name)
    return None if study_id is None else storage.get_study_user_attrs(study_id).get(OWNER)
