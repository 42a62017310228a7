"""What a study is, as its file says: written once, and checked whenever it is read."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import check_seal
from losstune.trainer.base.references import is_reference
from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml, read_yaml
from losstune.trainer.config.loss_registry import is_loss_name
from losstune.trainer.config.setting_errors import describe
from losstune.tuning.space.reader import read_space
from losstune.tuning.space.search_space import SearchSpace, loss_title
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.study_files import SPEC_FILE
from losstune.tuning.storage.trial_store import Kind

KEPT_DATA = "data.npz"
"""The data of a study that keeps it in its folder; another study's is a whole path, digits or a reference."""


class Taken(BaseModel):
    """What one loss of a study took over from another study: so many of so many ended trials, of these losses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    losses: list[str]
    trials: int
    of: int


class WarmStart(BaseModel):
    """The other study that a study began with the trials of.

    Attributes:
        study: its name, or the whole path of its folder, as it was asked for.
        study_id: its own.
        sha256: of the file that the trials were copied to.
        losses: by this study's names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    study_id: str
    sha256: str
    losses: dict[str, Taken]

    @property
    def text(self) -> str:
        """``34 of 40 trials of infonce of study first fit``."""
        return ", ".join(map(self._taken, self.losses))

    def _taken(self, loss: str) -> str:
        own = self.losses[loss]
        if not own.losses:
            return f"study {self.study} has no {loss}"
        named = loss if own.losses == [loss] else f"{' and '.join(own.losses)} for {loss}"
        trials = f"trial{'' if own.of == 1 else 's'}"
        return f"{own.trials} of {own.of} {trials} of {named} of study {self.study} fit"


class StudySpec(BaseModel):
    """What a study is, for good; only its budget may be raised later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    created: str
    data_source: str
    columns: str | None = None
    """How the arrays of its data are named, where that was said."""
    data_digest: str
    settings: StudySettings
    spaces: dict[str, dict[str, Any]]
    versions: dict[str, str]
    git_commit: str | None
    changes: list[dict[str, str]] = []
    """What other versions, and other code of the user's, it went on with, and when:
    ``{"at": …, "torch": "2.13.0 in the study, 2.14.0 now"}``."""
    code: dict[str, str] | None = None
    """SHA-256 of the file of each module of the user's that it names; None in one of before that was kept."""
    data_notes: list[str] = []
    """What its data makes of scores, as sentences; found when it began."""
    warm_start: WarmStart | None = None
    """The study whose trials it began with, as knowledge."""
    grown: dict[str, list[dict[str, Any]]] = {}
    """The spaces that a loss had before its own grew, the oldest first, by the loss's name."""
    trials_in: Kind | None = None
    """Where its trials are: in a file of its own folder, or in a database; None in one of before that was kept."""
    id: str = ""
    """Tells it from another study of its name in the same database or bucket; random."""

    @property
    def loss_fns(self) -> dict[str, str]:
        """The loss function of each loss, by the name that the study has for it; an own one that is named, by its path.

        Nothing is imported for it.
        """
        return {loss: str(source["loss_fn"]) if "name" in source else loss for loss, source in self.spaces.items()}

    def title(self, loss: str) -> str:
        """A loss as tables have it: its name, with its loss function beside it where that has another."""
        return loss_title(loss, self.loss_fns[loss])

    def search_spaces(self) -> dict[str, SearchSpace]:
        """The frozen space of each loss, by name in the order of the first launch.

        Raises:
            UserError: a loss can not be imported, or has another name now.
        """
        return {loss: self._space(loss, source) for loss, source in self.spaces.items()}

    def earlier_spaces(self, loss: str) -> list[SearchSpace]:
        """The spaces that a loss had before its own grew, the oldest first.

        Raises:
            UserError: as :meth:`search_spaces`.
        """
        return [self._space(loss, source) for source in self.grown.get(loss, [])]

    def generation(self, loss: str) -> int:
        """How many spaces a loss has had, its own included."""
        return len(self.grown.get(loss, [])) + 1

    def _space(self, loss: str, source: dict[str, Any]) -> SearchSpace:
        file = f"{self.name}/{SPEC_FILE} ({loss})"
        space = read_space(parse_yaml(dump_yaml(source), file))
        if space.name != loss:
            raise UserError(f"{file}: {source['loss_fn']} is named {space.name!r} now; expected {loss!r}")
        return space


def read_spec(path: Path, name: str) -> StudySpec:
    """The spec in a study's file.

    Raises:
        UserError: it is damaged, or not the spec of a study of this name.
    """
    check_seal(path)
    try:
        spec = StudySpec.model_validate(read_yaml(path).data)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error)}") from None
    if spec.name != name:
        raise UserError(f"{path}: name: found {spec.name!r}; expected {name!r}, as its folder")
    for loss, space in spec.spaces.items():
        key = "name" if "name" in space else "loss_fn"
        named = space.get(key)
        own_class = key == "loss_fn" and is_reference(named) and is_loss_name(loss)  # says its name when it is imported
        if named != loss and not own_class:
            raise UserError(f"{path}: spaces → {loss}: {key}: found {named!r}; expected {loss!r}")
    return spec


def utc_now() -> str:
    """The time as specs have it: ``2026-01-31T09:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def git_commit() -> str | None:
    """Commit of the user's own repository in the working directory, if there is one."""
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        return found.stdout.strip()
    return None
