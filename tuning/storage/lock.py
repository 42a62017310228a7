"""One launch at a time: a lock on a study's folder that goes with its process, or a lease where it is in a database."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import make_folder
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.lease import holding, is_held
from losstune.tuning.storage.plain_files import check_inside


@contextmanager
def locked(home: Home, name: str) -> Iterator[Home]:
    """Hold a study for one launch; the lock goes with the process. Yields the place as its holder is to use it.

    Raises:
        UserError: another process holds it (says which), or the folder can not be written.
    """
    folder = home.folder(name)
    check_inside(folder)
    if home.database is None:
        with _flocked(folder, name):
            yield home
    else:
        with holding(home.database, name) as lease:
            yield replace(home, database=replace(home.database, lease=lease))


@contextmanager
def _flocked(folder: Path, name: str) -> Iterator[None]:
    try:
        make_folder(folder)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"{folder}: can not be written: {error.strerror}") from None
    try:
        if not _take(descriptor):
            raise UserError(f"study {name!r} is in use by {_holder(folder)}")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_locked(home: Home, name: str) -> bool:
    """Whether a launch holds the study now."""
    path = home.folder(name) / ".lock"
    if home.database is not None:
        return is_held(home.database, name)
    if not path.exists():
        return False
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _take(descriptor: int) -> bool:
    """Lock at once, or within half a second: a glance by :func:`is_locked` is no holder."""
    for attempt in range(6):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.1 if attempt < 5 else 0)
        else:
            return True
    return False


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / ".lock").read_text())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
