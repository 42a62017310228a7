"""The tracker as a process of its own: nothing of MLflow runs in the launch, slow or down as it may be."""

import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from trainer.show import say
from tuning.picture import Activity
from tuning.study import Study

LOG_FILE = "tracker.log"
PATIENCE_SECONDS = 60.0


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
                [sys.executable, "-m", "tuning.tracking", str(study.root), study.spec.name, uri, activity],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask_to_finish(self) -> None:
        """The truth is complete: let it write what is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def finish(self, console: Console) -> bool:
        """Wait until it has; whether MLflow now has everything."""
        self.ask_to_finish()
        began = time.monotonic()
        told = False
        while (code := self._process.poll()) is None and time.monotonic() - began < PATIENCE_SECONDS:
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
