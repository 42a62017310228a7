"""Temporary folders that are their owner's alone, and that are cleared away after an owner that was killed."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "losstune-"
_ALIVE = ".alive"
"""A file in such a folder that is locked for as long as its owner lives."""
_RAYS = "session_"
"""How all that Ray makes in such a folder is named."""
HELPERS_SECONDS = 120
"""After this long nothing is left of a Ray that was killed: two of its helpers try to report for a minute."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder for the time of the block, which clears away those of processes that were killed."""
    for other in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if _abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
    folder = hidden.with_name(hidden.name.removeprefix("."))
    try:
        with (hidden / _ALIVE).open("w") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            hidden.rename(folder)  # locked before another process can see it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Whether nobody lives in a temporary folder of ours: its lock is free, or a helper of a dead Ray made it again.

    Without the lock's file, only what such a helper makes is ours; anything else that is named so is the user's.
    """
    alive = folder / _ALIVE
    if not alive.exists():
        remade = all(path.name.startswith(_RAYS) for path in folder.iterdir())
        return remade and time.time() - folder.stat().st_mtime > HELPERS_SECONDS
    with alive.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where somebody holds it
    return True
