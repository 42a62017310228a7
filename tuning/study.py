"""A study: its frozen spec, its folder, its Optuna storage, and the lock that keeps it to one launch."""

import json
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.config import describe
from trainer.errors import UserError
from trainer.files import check_seal, make_folder, move, sealed, with_crc, without_crc, write_whole
from trainer.losses import is_loss_name
from trainer.references import is_reference
from trainer.run_dir import ATTEMPT_FILE as RUN_ATTEMPT_FILE
from trainer.run_dir import newest_attempt
from trainer.yaml_file import dump_yaml, parse_yaml, read_yaml
from tuning.inside import check_inside
from tuning.race import Dropped
from tuning.settings import BUDGET_FIELDS, StudySettings
from tuning.space import SearchSpace
from tuning.space_file import read_space
from tuning.trials import TrialView, read_dropped, read_trials, storage_reason
from tuning.versions import check_versions, versions_now

STUDIES = "studies"
SPEC_FILE = "study.yaml"
STORAGE_FILE = "optuna.db"
TRIALS = "trials"
ATTEMPT_FILE = "attempt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class StudySpec(BaseModel):
    """What a study is, for good; only its budget may be raised later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    created: str
    data_source: str
    data_digest: str
    settings: StudySettings
    spaces: dict[str, dict[str, Any]]
    versions: dict[str, str]
    git_commit: str | None
    changes: list[dict[str, str]] = []
    """What other versions it went on with, and when: ``{"at": …, "torch": "2.13.0 in the study, 2.14.0 now"}``."""

    def search_spaces(self) -> dict[str, SearchSpace]:
        """The frozen space of each loss, in the order of the first launch.

        Raises:
            UserError: a loss can not be imported, or has another name now.
        """
        spaces = {}
        for loss, source in self.spaces.items():
            file = f"{self.name}/{SPEC_FILE} ({loss})"
            spaces[loss] = read_space(parse_yaml(dump_yaml(source), file))
            if spaces[loss].loss_fn != loss:
                raise UserError(f"{file}: {source['loss_fn']} is named {spaces[loss].loss_fn!r} now; expected {loss!r}")
        return spaces


@dataclass(frozen=True)
class Study:
    """An existing study: ``ROOT/studies/NAME`` and what its spec says."""

    root: Path
    spec: StudySpec

    @property
    def folder(self) -> Path:
        """``ROOT/studies/NAME``, absolute."""
        return study_folder(self.root, self.spec.name)

    @property
    def trials_folder(self) -> Path:
        """Where each trial has its own folder."""
        return self.folder / TRIALS

    def storage(self) -> BaseStorage:
        """Optuna's storage of this study."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / STORAGE_FILE
        if not path.exists():
            # A commit takes a third of the time, and readers never hold up the launch. The mode stays in the file.
            with closing(sqlite3.connect(path)) as fresh:
                fresh.execute("PRAGMA journal_mode=WAL")
        with self.reading_storage():
            return optuna.storages.get_storage(f"sqlite:///{path}")

    def trials(self, storage: BaseStorage | None = None) -> dict[str, list[TrialView]]:
        """All trials of each loss."""
        storage = storage or self.storage()
        with self.reading_storage():
            return {loss: read_trials(storage, loss) for loss in self.spec.spaces}

    @contextmanager
    def reading_storage(self) -> Iterator[None]:
        """What goes wrong in this block is one message: on a damaged storage Optuna raises whatever it stumbles over.

        Raises:
            UserError: it can not be read.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = f"can not be read: {storage_reason(error)}"
            raise UserError(f"{self.folder / STORAGE_FILE}: {reason}; restore it from a backup") from None

    def next_attempt(self) -> int:
        """The number of this launch, higher than of any before; to be called by the holder of the lock."""
        path = self.folder / ATTEMPT_FILE
        before = without_crc(path.read_bytes()) if path.exists() else None
        launches = [json.loads(before)["attempt"]] if before else []  # damaged: the runs' own files say what was
        launches += [newest_attempt(opened.parent) for opened in self.folder.rglob(RUN_ATTEMPT_FILE)]
        number: int = 1 + max(launches, default=0)
        write_whole(path, with_crc(json.dumps({"attempt": number})).encode())
        return number

    def dropped(self) -> list[Dropped]:
        """The losses that are out of the race, in the study's order."""
        storage = self.storage()
        with self.reading_storage():
            found = [read_dropped(storage, loss) for loss in self.spec.spaces]
        return [Dropped.from_dict(drop) for drop in found if drop]

    def save(self) -> None:
        """Write the spec."""
        write_whole(self.folder / SPEC_FILE, sealed(dump_yaml(self.spec.model_dump())).encode())


def study_folder(root: Path, name: str) -> Path:
    """Folder of a study.

    Raises:
        UserError: the name can not be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"study name {name!r}: a name is 1 to 64 letters, digits, '.', '_' and '-', "
            "and starts with a letter or digit"
        )
    return root.absolute() / STUDIES / name


def open_study(root: Path, name: str) -> Study:
    """An existing study.

    Raises:
        UserError: there is none of this name; says which there are.
    """
    path = study_folder(root, name) / SPEC_FILE
    check_inside(path.parent)
    if not path.exists():
        names = ", ".join(list_studies(root)) or "none"
        raise UserError(f"no study {name!r} in {root.absolute() / STUDIES}; found: {names}")
    check_seal(path)
    try:
        spec = StudySpec.model_validate(read_yaml(path).data)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error)}") from None
    if spec.name != name:
        raise UserError(f"{path}: name: found {spec.name!r}; expected {name!r}, as its folder")
    for loss, space in spec.spaces.items():
        named = space.get("loss_fn")
        own_class = is_reference(named) and is_loss_name(loss)  # says its name only when it is imported
        if named != loss and not own_class:
            raise UserError(f"{path}: spaces → {loss}: loss_fn: found {named!r}; expected {loss!r}")
    return Study(root, spec)


def list_studies(root: Path) -> list[str]:
    """Names of all studies under a root, sorted."""
    return sorted(path.parent.name for path in (root / STUDIES).glob(f"*/{SPEC_FILE}"))


def create_study(
    root: Path, name: str, spaces: list[SearchSpace], settings: StudySettings, data_source: str, data_digest: str
) -> Study:
    """Write a new study's folder and spec."""
    spec = StudySpec(
        name=name,
        created=_utc_now(),
        data_source=data_source,
        data_digest=data_digest,
        settings=settings,
        spaces={space.loss_fn: dict(space.source) for space in spaces},
        versions=versions_now(),
        git_commit=_git_commit(),
    )
    study = Study(root, spec)
    make_folder(study.trials_folder)
    study.save()
    return study


def continued(
    study: Study,
    spaces: list[SearchSpace],
    options: Mapping[str, Any],
    data_digest: str,
    *,
    accept_change: bool = False,
) -> Study:
    """The study as another launch continues it: the same but for a new budget.

    Args:
        spaces: as given again; empty takes the frozen ones.
        options: settings that stand on the command line.
        accept_change: go on with other versions of the libraries, on record.

    Raises:
        UserError: data, spaces, settings or, if not accepted, versions differ; lists the differences.
    """
    spec = study.spec
    differences = []
    if data_digest != spec.data_digest:
        differences.append(f"data: SHA-256 {spec.data_digest[:12]} in the study, {data_digest[:12]} now")
    if spaces:
        now = {space.loss_fn: dict(space.source) for space in spaces}
        differences += list(_differences("spaces", _without_budgets(spec.spaces), _without_budgets(now)))
    frozen = spec.settings.model_dump()
    differences += [
        f"{name}: {frozen[name]} in the study, {value} now"
        for name, value in options.items()
        if name not in BUDGET_FIELDS and frozen[name] != value
    ]
    if differences:
        raise UserError(
            f"study {spec.name!r} exists with other content; use another --study name, or undo the change:\n"
            + "\n".join(differences)
        )
    change = check_versions(f"study {spec.name!r}", spec.versions, accepted=accept_change)
    if change:
        changes = [*spec.changes, {"at": _utc_now(), **change}]
        spec = spec.model_copy(update={"versions": versions_now(), "changes": changes})
    budget = _new_budget(spec, spaces, options)
    try:
        settings = StudySettings.model_validate(frozen | budget)
    except ValidationError as error:
        raise UserError(f"study: {describe(error)}") from None
    sources = {space.loss_fn: dict(space.source) for space in spaces} or spec.spaces
    return Study(study.root, spec.model_copy(update={"settings": settings, "spaces": sources}))


def _new_budget(spec: StudySpec, spaces: list[SearchSpace], options: Mapping[str, Any]) -> dict[str, Any]:
    """The budget on the command line, else one that changed in a file, else the study's own."""
    given = {name: options[name] for name in BUDGET_FIELDS if name in options}
    for space in spaces:
        before = spec.spaces[space.loss_fn].get("study") or {}
        changed = {n: space.study[n] for n in BUDGET_FIELDS if n in space.study and space.study[n] != before.get(n)}
        if changed and given and changed != given and not set(given) & set(options):
            raise UserError(f"study: {space.file} says {changed}, another space {given}; give the budget as an option")
        given = given or changed
    return dict.fromkeys(BUDGET_FIELDS) | given if given else {}


def _without_budgets(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for loss, source in spaces.items():
        study = {k: v for k, v in (source.get("study") or {}).items() if k not in BUDGET_FIELDS}
        result[loss] = {**source, "study": study}
    return result


def _differences(path: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            if key not in now:
                yield f"{path}.{key}: in the study, absent now"
            elif key not in before:
                yield f"{path}.{key}: absent in the study, present now"
            else:
                yield from _differences(f"{path}.{key}", before[key], now[key])
    elif before != now:
        yield f"{path}: {before} in the study, {now} now"


def delete_folder(root: Path, name: str) -> None:
    """Remove a study's folder with all its trials: cut short, no part is left for the next study of that name."""
    folder = study_folder(root, name)
    gone = folder.parent.with_name(f".deleted-{name}")
    shutil.rmtree(gone, ignore_errors=True)  # what a deletion that was cut short has left
    move(folder, gone)
    shutil.rmtree(gone)


def _utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _git_commit() -> str | None:
    """Commit of the user's own repository in the working directory, if there is one."""
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        return found.stdout.strip()
    return None
