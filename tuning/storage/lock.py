"""One launch at a time where a study's trials are in its folder: a lock there, which goes with its process."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import make_folder

LOCK_FILE = ".lock"


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Hold a study's folder for the time of the block; made if it is not there.

    Raises:
        UserError: another process holds it (says which), or the folder can not be written.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: can not be written: {error.strerror}") from None
    try:
        if not _take(descriptor):
            raise UserError(f"study {folder.name!r} is in use by {_holder(folder)}")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_folder_locked(folder: Path) -> bool:
    """Whether a process holds a study's folder now.

    Raises:
        UserError: its lock can not be read.
    """
    path = folder / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{path}: can not be read: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take(descriptor: int) -> bool:
    """Lock at once, or within half a second: a glance by :func:`is_folder_locked` is no holder."""
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
        holder = json.loads((folder / LOCK_FILE).read_text())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
