"""The tracker as a process of its own: nothing of MLflow runs in the launch, slow or down as it may be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.signals import SIGNALS, StopRequest
from losstune.tuning.study.study import Study
from losstune.tuning.track.runs import Activity
from losstune.tuning.track.tracking_uri import TRACKING_URI, tracking_option, tracking_uri_of

LOG_FILE = "tracker.log"
PATIENCE_SECONDS = 30.0
STOPPED_SECONDS = 6.0
"""How long a launch waits for MLflow at its end, and how long after a signal."""


class TrackerProcess:
    """Follows a study from outside: reads the truth, writes MLflow, until the launch ends or dies."""

    def __init__(self, study: Study, tracking_uri: str | None, activity: Activity) -> None:
        """Take what it is to follow; nothing runs yet."""
        self._study = study
        self._uri = tracking_uri_of(study.home, tracking_uri)
        self._place = f"{study.home.options()}{tracking_option(tracking_uri)}"
        self._activity = activity
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, once, deaf to the signals that end a launch, which a batch system sends to all: it ends later."""
        if self._process is not None:
            return
        study = self._study
        path = study.folder / LOG_FILE
        path.unlink(missing_ok=True)  # the tracker of a launch that was killed may still write to that one
        with path.open("w") as log, _signals_blocked():
            self._process = subprocess.Popen(
                # Unbuffered: what it says stays in order, and its error is the last line.
                [sys.executable, "-u", "-P", "-m", "losstune.tuning.commands.sync", study.spec.name, self._activity],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Its arguments are for all to see.
                env={**os.environ, **study.home.environment(), TRACKING_URI: self._uri},
            )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)  # from its first import on: training does not wait

    def ask_to_finish(self) -> None:
        """The truth is complete: let it write what is left."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def finish(self, console: Console, stop: StopRequest) -> bool:
        """Wait until it has, not for long once a signal came; whether MLflow now has everything.

        Where it was never started, there is nothing to wait for, nor to say.
        """
        if self._process is None:
            return False
        self.ask_to_finish()
        began = time.monotonic()
        told = False
        while (code := self._process.poll()) is None:
            waited = time.monotonic() - began
            if time.monotonic() > (stop.since + STOPPED_SECONDS if stop else began + PATIENCE_SECONDS):
                break
            if not told and waited > 2:
                say(console, "Writing the last runs to MLflow …")
                told = True
            time.sleep(0.05)
        if code is None:
            self._process.kill()
            self._process.wait()
        if code != 0:
            command = f"losstune sync {self._study.spec.name}{self._place}"
            why = f"{self._last_line()}; " if code else ""  # None: it was slow
            say(console, f"MLflow lacks a part of this study ({why}{self._kept_log()}): {command}")
        self._say_notes(console)
        return code == 0

    def _kept_log(self) -> str:
        """Where the user finds what the tracker wrote."""
        files, path = self._study.files, self._study.folder / LOG_FILE
        with suppress(OSError):
            if self._study.home.bucket is not None:
                files.write(path, path.read_bytes())
        return files.where(path)

    def _last_line(self) -> str:
        """What the tracker ended with: its error in one line."""
        lines = (self._study.folder / LOG_FILE).read_text().splitlines()
        return lines[-1] if lines else "its process died"

    def _say_notes(self, console: Console) -> None:
        """What the tracker wants the user to know."""
        for line in (self._study.folder / LOG_FILE).read_text().splitlines():
            if line.startswith("note: "):
                say(console, line.removeprefix("note: "))


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """What starts in this block never hears of a signal to stop."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
