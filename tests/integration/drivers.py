"""The command line as on a machine of its own: its files are in memory, and no other process sees them."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psycopg
from optuna.trial import FrozenTrial

from tests.integration.servers import with_driver
from tests.reliability.studies import LOSSTUNE, Found, private_tmp, wait_for

_ENTER = 'mount -t tmpfs tmpfs "$0" && mkdir "$0"/home "$0"/work "$0"/tmp && cd "$0"/work && exec "$@"'


def wait_during(launch: subprocess.Popen[str], what: Callable[[], Found], why: str) -> Found:
    """Poll until there is something, while a launch runs."""

    def look() -> Found:
        assert launch.poll() is None, launch.communicate()[0]
        return what()

    return wait_for(look, 120, why)


@dataclass(frozen=True)
class Team:
    """What the members of a team have in common: where a cluster is, and where studies, their truth and MLflow are.

    ``storage`` is a bucket, or a folder that all see.
    """

    address: str
    storage: str
    study_storage: str
    tracking: str

    def command(self, *arguments: str, ours: Path) -> subprocess.Popen[str]:
        """``losstune ARGUMENTS`` with home, working and temporary folder in the folder ``ours``, which stays empty for
        all but this process: a file system in memory hangs there, in a mount namespace of its own."""
        environment = {
            "HOME": f"{ours}/home",
            "TMPDIR": f"{ours}/tmp",
            "LOSSTUNE_STORAGE": self.storage,
            "LOSSTUNE_STUDY_STORAGE": self.study_storage,
            "LOSSTUNE_TRACKING_URI": self.tracking,
        }
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        return subprocess.Popen(
            ["unshare", *as_root, "--mount", "bash", "-c", _ENTER, str(ours), LOSSTUNE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    @contextmanager
    def driver(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The same in a new folder; at the end nothing may lie there that a worker wrote to where it took it for."""
        with private_tmp() as ours:
            process = self.command(*arguments, ours=ours)
            try:
                yield process
            finally:
                process.kill()
                process.wait()
                assert list(ours.iterdir()) == []

    def run(self, *arguments: str, code: int = 0) -> str:
        """``losstune ARGUMENTS`` from a new, empty machine to its end; returns what it printed."""
        with self.driver(*arguments) as process:
            out, _ = process.communicate(timeout=300)
        assert process.returncode == code, out
        assert "Traceback" not in out, out
        return out

    def launch(self, *arguments: str) -> str:
        """``losstune launch`` on the cluster, to a good end."""
        return self.run("launch", *arguments, "--address", self.address)

    def json(self, *arguments: str) -> dict[str, Any]:
        """What a command tells programs."""
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json"))
        return found

    def ended(self) -> int:
        """Trials in the database that have ended so far; it is only looked at."""
        with (
            suppress(psycopg.errors.UndefinedTable),
            psycopg.connect(self.study_storage) as connection,
        ):
            counted = connection.execute("SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')").fetchone()
            return int(counted[0]) if counted else 0
        return 0

    def trials(self, study: str) -> dict[str, list[FrozenTrial]]:
        """All trials of each loss of a study so far, as Optuna itself reads them from the database."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        uri = with_driver(self.study_storage)
        names = [name for name in optuna.get_all_study_names(uri) if name.startswith(f"{study}/")]
        return {
            name.removeprefix(f"{study}/"): optuna.load_study(study_name=name, storage=uri).trials for name in names
        }
