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
trap 'kill -- -"${server:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
unset MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  mlflow==3.17.2 pandas==3.1.1 pyarrow==25.0.1 numpy==2.4.6

port=$(venv/bin/python -c "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])")
setsid venv/bin/python -m mlflow server --host 127.0.0.1 --port "$port" --workers 1 \
  --backend-store-uri "sqlite:///$folder/server.db" --artifacts-destination "$folder/files" >server.txt 2>&1 &
server=$!
for _ in $(seq 300); do
  venv/bin/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$port/health', timeout=5)" 2>/dev/null && break
  sleep 0.2
done

venv/bin/python - "$port" <<'PY' 2>warnings.txt || { cat warnings.txt server.txt >&2; exit 1; }
import contextlib
import io
import os
import sys

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


server = f"http://127.0.0.1:{sys.argv[1]}"
print("mlflow", mlflow.__version__)
by_database = ended("sqlite:///own.db")
by_server = ended(server)
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
quiet = ended(server)
print("set_terminated on a database: requests", by_database[0], "lines printed", by_database[1])
print("set_terminated on a server:   requests", by_server[0], "lines printed", by_server[1])
print("… with the variable set:      requests", quiet[0], "lines printed", quiet[1])
so = by_database == ([], 0) and by_server == (["GET runs/get", "POST runs/update"], 2)
sys.exit(0 if so and quiet == (["POST runs/update"], 0) else "no longer so")
PY
