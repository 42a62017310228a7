"""One process at a time writes a study's runs.

MLflow takes two runs of one name, and a tracker reads only once which there are. So a second one beside it, as of
``losstune sync``, or of a launch that was killed and still has its last runs to write, would make runs again.
"""

import fcntl
import os
import time
from types import TracebackType
from typing import Self

from losstune.trainer.base.errors import UserError
from losstune.tuning.study.study import Study

TURN_FILE = ".tracker"
WAIT_SECONDS = 60.0
"""How long one waits for another, at the most: that has to write what is left, and MLflow may be slow."""


class Turn:
    """To write a study's runs: taken once no other process has it, and given back at the end of a ``with`` block.

    It is a lock in the study's folder, which goes with its process. A bucket has none: there it is always free, and
    whoever wrote long reads again which runs there are before the last time.
    """

    def __init__(self, study: Study) -> None:
        """Of this study; not taken yet."""
        self._name = study.spec.name
        self._path = study.folder / TURN_FILE if study.home.bucket is None else None
        self._descriptor: int | None = None

    @property
    def is_sure(self) -> bool:
        """Whether no other process writes while this one has it."""
        return self._path is not None

    def take(self) -> bool:
        """Take it, unless another process has it; whether it is this one's now.

        Raises:
            OSError: the study's folder can not be written.
        """
        if self._path is None:
            return True
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self) -> None:
        """Take it once the other process has given it back.

        Raises:
            UserError: it has not within a minute.
            OSError: the study's folder can not be written.
        """
        end = time.monotonic() + WAIT_SECONDS
        while not self.take():
            if time.monotonic() > end:
                raise UserError(
                    f"another process writes the runs of study {self._name!r} to MLflow, as a launch's last ones or a "
                    "sync; the same command goes on once it has ended"
                )
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
