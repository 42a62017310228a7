"""MLflow's own UI, on loopback."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import suppress

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.signals import stop_on_signal
from losstune.trainer.base.users_modules import SAFE_PATH
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.passwords import masked
from losstune.tuning.track.moved import follow_folder
from losstune.tuning.track.tracking_uri import is_server, tracking_uri_of

_LOOPBACK = "127.0.0.1"
SHOWN = 5
"""Studies whose pages are named, those that changed last."""
_OPENING = (
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    "MLFLOW_UVICORN_OPTS",
    "MLFLOW_GUNICORN_OPTS",
)
"""Variables of MLflow's that would open the server to other sites or addresses; a stray one is not passed on."""


def run_ui(home: Home, tracking_uri: str | None, port: int, console: Console) -> int:
    """Serve until interrupted, and say where; returns the exit code, not 0 where the server ended by itself.

    Args:
        port: on loopback; 0 is any that is free.

    Raises:
        UserError: nothing has been logged here yet, a server shows it already, or the port is in use.
    """
    uri = tracking_uri_of(home, tracking_uri)
    if is_server(uri):
        raise UserError(f"--tracking-uri {masked(uri)} is a server with a UI of its own: open that address")
    if not tracking_uri:
        store = home.root / "mlflow.db"
        if not store.exists():
            raise UserError(f"no mlflow.db in {home.where}: launch a study first, or give --tracking-uri")
        with suppress(sqlite3.Error):  # MLflow says best what is wrong with its database
            follow_folder(store, home.root.absolute())
    port = _free_port(port)
    hosts = ",".join(f"{host}:{port}" for host in ("localhost", _LOOPBACK))
    command = [sys.executable, "-m", "mlflow", "server", "--host", _LOOPBACK, "--port", str(port)]
    command += ["--workers", "1", "--allowed-hosts", hosts]
    command += ["--default-artifact-root", f"{home.where}/mlartifacts"]
    address = f"http://{_LOOPBACK}:{port}"
    say(console, f"MLflow on {address}  (Ctrl-C ends it)")
    for line in _study_lines(uri, address):
        say(console, line)
    with stop_on_signal() as stop:
        process = subprocess.Popen(command, env=_environment(uri))
        while process.poll() is None:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                if stop:
                    process.terminate()
    return stop.exit_code if stop else process.returncode or 1


def _study_lines(uri: str, address: str) -> list[str]:
    """Where each study's trials, curves and model are: MLflow opens an experiment on a page for language models."""
    from losstune.tuning.track.experiment import shown_studies
    from losstune.tuning.track.mlflow_store import brief_requests, client_of
    from losstune.tuning.track.registry import has_champion
    from losstune.tuning.track.view import TRAINING, VIEW

    with suppress(Exception), brief_requests():  # the server tells best what is wrong with its store
        client = client_of(uri)
        studies = shown_studies(client)
        lines = []
        for name, number in list(studies.items())[:SHOWN]:
            trials = f"{address}/#/experiments/{number}/runs?{TRAINING}&viewStateShareKey={VIEW}"
            lines += [f"{name}", f"  trials  {trials}", f"  charts  {trials}&compareRunsMode=CHART"]
            lines += [f"  model   {address}/#/models/{name}?{TRAINING}"] * has_champion(client, name)
        return lines + [f"and {len(studies) - SHOWN} more"] * (len(studies) > SHOWN)
    return []


def _free_port(wish: int) -> int:
    """The port, or any where that is 0, if nobody listens there: MLflow's server would end with 0 without a word."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: what has just closed is free
        try:
            probe.bind((_LOOPBACK, wish))
        except OSError as error:
            raise UserError(
                f"--port {wish} can not be used on {_LOOPBACK}: {error.strerror}; give another one, or --port 0 for "
                "any that is free"
            ) from None
        return int(probe.getsockname()[1])


def _environment(uri: str) -> dict[str, str]:
    """The server's environment; the URI is in it, and not among its arguments, because ``ps`` shows those to all."""
    kept = {name: value for name, value in os.environ.items() if name not in _OPENING}
    return {
        **kept,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_REGISTRY_STORE_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        SAFE_PATH: "1",
        "UVICORN_APP_DIR": os.devnull,  # uvicorn's default puts the working folder in front all the same
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for what a study never uses
    }
