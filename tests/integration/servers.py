"""PostgreSQL, an S3 store and MLflow's own server: processes on loopback that end with whoever started them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from tests.reliability.faulty_server import free_port
from tests.reliability.studies import wait_for

BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
PASSWORD = "sehr%2Fgeheim"
"""As it stands in an address: it has a slash."""

AWS = {"AWS_ACCESS_KEY_ID": "losstune", "AWS_SECRET_ACCESS_KEY": "losstune-secret", "AWS_DEFAULT_REGION": "us-east-1"}
STARTS_WITHIN = 120.0


@contextmanager
def server(
    command: list[str],
    answers: Callable[[], bool],
    log: Path,
    *,
    stop: signal.Signals = signal.SIGTERM,
    user: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program for the time of the block, from when it answers. It dies with this process, however that ends.

    Args:
        log: the file that has what it prints.
        stop: the signal that ends it well.
        user: whom it runs as; only root can say so.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", stop.name.removeprefix("SIG"), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            env={**os.environ, **(environment or {})},
        )

    def up() -> bool:
        assert process.poll() is None, f"{command[0]} ended at once:\n{log.read_text()}"
        return answers()

    try:
        wait_for(up, STARTS_WITHIN, f"{command[0]} answers")
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class Postgres:
    """A PostgreSQL of its own: Debian's program, data in a private folder, one port of loopback.

    It keeps its data while it is stopped. Root starts it as the user ``postgres``, because it refuses root.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "postgres" if os.geteuid() == 0 else None
        self._programs = max(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None
        )
        assert self._programs is not None, "apt-get install postgresql"
        if self._user:
            shutil.chown(folder, self._user, self._user)
        password = folder / "password"
        password.write_text(PASSWORD.replace("%2F", "/"))
        password.chmod(0o644)  # in a folder that is private
        subprocess.run(
            [
                *(self._programs / "initdb", "--pgdata", folder / "data", "--no-sync", "--username", "losstune"),
                *("--auth", "scram-sha-256", "--pwfile", password, "--encoding", "UTF8", "--locale", "C"),
            ],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and stop it at once at the end, whoever is connected."""
        assert self._programs is not None
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "full_page_writes": "off",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with server(command, self._answers, self._folder / "log", stop=signal.SIGINT, user=self._user) as process:
            self._process = process
            yield

    def stop(self) -> None:
        """Stop it before its block ends."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)

    @contextmanager
    def frozen(self, *, connections_alone: bool = False) -> Iterator[None]:
        """Stopped in mid-air for the time of the block: its kernel still takes what is sent, and nothing answers.

        Args:
            connections_alone: those that there are, while the server takes new ones.
        """
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        stopped = server.children() if connections_alone else [server, *server.children()]
        for one in stopped:
            one.suspend()
        try:
            yield
        finally:
            for one in stopped:
                with suppress(psutil.NoSuchProcess):
                    one.resume()

    def uri(self, database: str) -> str:
        """Address of a database, with name and password."""
        return f"postgresql://losstune:{PASSWORD}@{HOST}:{self.port}/{database}"

    def run(self, statement: str) -> None:
        """Run one statement that is not part of a transaction."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.uri("postgres"), connect_timeout=5):
            return True
        return False


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new PostgreSQL, running."""
    with private_folder() as folder:
        own = Postgres(folder)
        with own.running():
            yield own


@contextmanager
def s3_store() -> Iterator[int]:
    """An empty S3 store in memory, moto's; yields its port."""
    port = free_port()
    command = [str(BIN / "moto_server"), "--host", HOST, "--port", str(port)]
    with private_folder() as folder, server(command, lambda: _accepts(port), folder / "log"):
        yield port


@contextmanager
def optuna_dashboard(storage: str) -> Iterator[str]:
    """Optuna's dashboard on a storage, by its address as SQLAlchemy wants it; yields the dashboard's address."""
    port = free_port()
    command = [str(BIN / "optuna-dashboard"), storage, "--host", HOST, "--port", str(port)]
    with private_folder() as folder, server(command, lambda: _accepts(port), folder / "log"):
        yield f"http://{HOST}:{port}"


@contextmanager
def mlflow_server(backend: str, artifacts: str) -> Iterator[str]:
    """MLflow's server on a database, which hands artifacts through to ``artifacts``; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", f"{HOST}:{port}", "--artifacts-destination", artifacts]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": with_driver(backend),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
            return True
        return False

    with private_folder() as folder, server(command, answers, folder / "log", environment=environment):
        yield f"http://{HOST}:{port}"


def with_driver(uri: str) -> str:
    """An address as SQLAlchemy wants it, for psycopg 3."""
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="lts", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
