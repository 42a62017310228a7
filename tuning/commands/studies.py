"""How commands come to a study that exists: to read it, or to hold it for a launch. Opened once by each."""

from collections.abc import Iterator
from contextlib import contextmanager

from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, open_study, study_exists, translating_failures


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


def released(study: Study, home: Home) -> Study:
    """The study of a launch that is over, to be read: without the lease that was let go, which would refuse it."""
    return Study(home, study.spec)
