"""MLflow's own UI, on loopback."""

import os
import subprocess
import sys
from pathlib import Path

from trainer.errors import UserError
from trainer.signals import stop_on_signal
from tuning.tracker_process import default_tracking_uri

_LOOPBACK = "127.0.0.1"


def run_ui(root: Path, tracking_uri: str | None, port: int) -> int:
    """Serve until interrupted; returns the exit code.

    Raises:
        UserError: nothing has been logged here yet.
    """
    if tracking_uri is None and not (root / "mlflow.db").exists():
        raise UserError(f"no mlflow.db in {root.absolute()}: launch a study first, or give --tracking-uri")
    uri = tracking_uri or default_tracking_uri(root)
    hosts = ",".join(f"{host}:{port}" for host in ("localhost", _LOOPBACK))
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", _LOOPBACK]
    command += ["--port", str(port), "--workers", "1", "--allowed-hosts", hosts]
    command += ["--default-artifact-root", str(root.absolute() / "mlartifacts")]
    print(f"MLflow on http://{_LOOPBACK}:{port}  (Ctrl-C ends it)", flush=True)
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with stop_on_signal() as stop:
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                if stop:
                    process.terminate()
    return stop.exit_code if stop else process.returncode
