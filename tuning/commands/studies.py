"""How commands come to a study that exists: to read it, or to hold it for a launch. Opened once by each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.data.pairs import Pairs
from losstune.tuning.storage.home import STUDIES, Home
from losstune.tuning.storage.sqlite_store import STORAGE_FILE
from losstune.tuning.study.kept_data import with_data_at
from losstune.tuning.study.study import Study, found_study, open_study, study_exists, translating_failures
from losstune.tuning.study.users_code import file_of, with_code_of_now


def existing(home: Home, name: str, *, files: bool = False) -> Study:
    """A study to read; ``files`` brings its small files here too, where they are kept elsewhere.

    Raises:
        UserError: there is none of this name, or its files can not be read.
    """
    with translating_failures(home, name):
        study = open_study(home, name)
        if files:
            study.files.update()
    return study


def named_study(given: str | os.PathLike[str]) -> str:
    """A study of the same place by its name, one of another place by the whole path of its folder."""
    text = os.fspath(given)
    return str(Path(text).resolve()) if len(Path(text).parts) > 1 else text


def other_study(home: Home, named: str) -> Study:
    """A study to read beside one of this place, by what :func:`named_study` gives.

    A folder with its own trials needs nothing else; without them they are in the database of this place. Its spec says
    which; one of before that did not is told by its ``optuna.db``.

    Raises:
        UserError: there is none, or its files can not be read.
    """
    path = Path(named)
    if len(path.parts) == 1:
        return existing(home, named)
    if path.parent.name != STUDIES:
        raise UserError(f"{path}: no study is there; expected a study's name, or its folder, …/{STUDIES}/NAME")
    there = Home(path.parents[1])
    with translating_failures(there, path.name):
        kind = found_study(there, path.name).spec.trials_in
    own = (path / STORAGE_FILE).exists() if kind is None else kind == "file"
    return existing(there if own else replace(there, database=home.database), path.name)


@contextmanager
def held(home: Home, name: str) -> Iterator[Study]:
    """A study for one launch: what it says is read by the holder of its lock, so that no other launch changes it.

    Raises:
        UserError: there is none of this name, or another process holds it.
    """
    with translating_failures(home, name):
        if not study_exists(home, name):
            open_study(home, name)  # says which there are; the lock would leave a folder of this name
    with home.locked(name) as place, translating_failures(place, name):
        yield open_study(place, name)


def taken_up(study: Study, pairs: Pairs, console: Console) -> Study:
    """The study as its holder goes on with it: its data where it was found, the user's code as it is now; kept so.

    Both that the data is elsewhere now and that a file of the user's has changed are said.
    """
    moved = with_data_at(study, pairs)
    if moved.data_source != study.data_source:
        say(console, f"Note: the data of study {study.spec.name} is at {moved.data_source} now")
    spec, changed = with_code_of_now(moved.spec)
    if changed:
        files = ", ".join(str(file_of(module)) for module in changed)
        say(
            console,
            f"Note: {files} changed since the last launch of study {spec.name}: numbers from before and after may "
            "not be comparable; study.yaml keeps the change on record",
        )
    if spec == study.spec:
        return study
    current = Study(study.home, spec)
    current.save()
    return current


def released(study: Study, home: Home) -> Study:
    """The study of a launch that is over, to be read: without the lease that was let go, which would refuse it."""
    return Study(home, study.spec)
