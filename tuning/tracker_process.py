"""The tracker as a process of its own: nothing of MLflow runs in the launch, slow or down as it may be."""

import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from trainer.show import say
from tuning.picture import Activity
from tuning.study import Study

LOG_FILE = "tracker.log"
TRACKING_URI = "LOSSTUNE_TRACKING_URI"
"""Environment variable with MLflow's store: it may hold a password."""
PATIENCE_SECONDS = 30.0
STOPPED_SECONDS = 5.0
"""How long a launch waits for MLflow at its end, and after a signal."""


def default_tracking_uri(root: Path) -> str:
    """SQLite beside the studies."""
    return f"sqlite:///{root.absolute() / 'mlflow.db'}"


class TrackerProcess:
    """Follows a study from outside: reads the truth, writes MLflow, until the launch ends or dies."""

    def __init__(self, study: Study, tracking_uri: str | None, activity: Activity) -> None:
        """Start it; it is in a session of its own, so that Ctrl-C does not reach it."""
        self._study = study
        uri = tracking_uri or default_tracking_uri(study.root)
        with (study.folder / LOG_FILE).open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tuning.sync", str(study.root), study.spec.name, activity],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, TRACKING_URI: uri},  # its arguments are for all to see
            )

    def ask_to_finish(self) -> None:
        """The truth is complete: let it write what is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def finish(self, console: Console, *, stopped: bool) -> bool:
        """Wait until it has, not for long once a signal came; whether MLflow now has everything."""
        patience = STOPPED_SECONDS if stopped else PATIENCE_SECONDS
        self.ask_to_finish()
        began = time.monotonic()
        told = False
        while (code := self._process.poll()) is None and time.monotonic() - began < patience:
            if not told and time.monotonic() - began > 2:
                say(console, "Writing the last runs to MLflow …")
                told = True
            time.sleep(0.05)
        if code is None:
            self._process.kill()
            self._process.wait()
        if code != 0:
            name = self._study.spec.name
            say(console, f"MLflow lacks a part of this study ({self._study.folder / LOG_FILE}): losstune sync {name}")
        self._say_notes(console)
        return code == 0

    def _say_notes(self, console: Console) -> None:
        """What the tracker wants the user to know."""
        for line in (self._study.folder / LOG_FILE).read_text().splitlines():
            if line.startswith("note: "):
                say(console, line.removeprefix("note: "))
