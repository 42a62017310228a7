#!/usr/bin/env bash
# MLflow 3.17.2: to end a run on a server the client asks for that run once more, to print its address.
#
# `MlflowClient.set_terminated` is one update of the run. On a server it is two requests: before the update the client
# gets the whole run, with all of its metrics, parameters and tags, in order to print two lines, "View run … at" and
# "View experiment at", to standard output. Nothing in its signature says so; on a database the same call asks nothing
# and prints nothing, so that a program of which the output is one JSON object breaks on the day it gets a server. For
# thousands of runs that are written in a few requests each it is a quarter more of them. What turns both off is the
# environment variable MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, which is read at each call: set by anything that ran
# earlier in the process, it changes the count. `mlflow.end_run` does the same.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
unset MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  mlflow==3.17.2 pandas==3.1.1 pyarrow==25.0.1 numpy==2.4.6

venv/bin/python - <<'PY' 2>warnings.txt || { cat warnings.txt >&2; exit 1; }
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time

import mlflow
import requests

asked = []
send = requests.Session.send


def counting(session, request, **options):
    asked.append(f"{request.method} {request.url.split('?')[0].rpartition('/mlflow/')[2]}")
    return send(session, request, **options)


requests.Session.send = counting


def ended(uri):
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run(client.create_experiment(f"runs of {uri} {len(asked)}")).info.run_id
    asked.clear()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        client.set_terminated(run_id)
    return list(asked), said.getvalue().count("\n")


with socket.create_server(("127.0.0.1", 0)) as free:
    port = str(free.getsockname()[1])
command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
command += ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "files"]
with subprocess.Popen(command, stdout=sys.stderr, start_new_session=True) as process:
    try:
        for _ in range(300):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    break
            time.sleep(0.2)
        by_database = ended("sqlite:///own.db")
        by_server = ended(f"http://127.0.0.1:{port}")
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        quiet = ended(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
print("mlflow", mlflow.__version__)
print("expected of set_terminated on a server: one update, as on a database, where it asks and prints", by_database)
print("seen, requests and lines printed:      ", by_server)
print("seen with the variable set:            ", quiet)
so = by_database == ([], 0) and by_server == (["GET runs/get", "POST runs/update"], 2)
sys.exit(0 if so and quiet == (["POST runs/update"], 0) else "no longer so")
PY
