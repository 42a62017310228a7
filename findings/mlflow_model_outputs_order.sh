#!/usr/bin/env bash
# MLflow 3.17.2: the models that a run logged come back in the order of their random ids.
#
# A run logs a model after each of eight epochs, and `run.outputs.model_outputs` is read afterwards. One expects the
# order in which they were logged, so that the last is the newest, as it is with metrics' histories. The database store
# reads them by a primary key that ends in the model's id, which is random: the order is the ids', whatever was logged
# when, and other in each run of the same script. Code that takes the last one gets any of them, and a test that
# compares two models' order passes every second time. The step does not help by itself: it is 0 unless it is given,
# and no order either. `search_logged_models` with an order by creation_timestamp, or a sort by steps of one's own, is
# what holds.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  mlflow==3.17.2 pandas==3.1.1 pyarrow==25.0.1 numpy==2.4.6

venv/bin/python - <<'PY' 2>warnings.txt || { cat warnings.txt >&2; exit 1; }
import sys

import mlflow
from mlflow.entities import LoggedModelOutput

client = mlflow.MlflowClient("sqlite:///mlflow.db")
experiment = client.create_experiment("epochs")
run_id = client.create_run(experiment).info.run_id
logged = []
for epoch in range(8):
    model = client.create_logged_model(experiment, f"epoch-{epoch}", run_id)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=epoch)])
    logged.append(model.model_id)
found = client.get_run(run_id).outputs.model_outputs
newest = client.search_logged_models([experiment], order_by=[{"field_name": "creation_timestamp", "ascending": True}])

print("mlflow", mlflow.__version__)
print("expected steps: [0, 1, 2, 3, 4, 5, 6, 7]")
print("seen:          ", [output.step for output in found], "which is the order of the ids")
print("search_logged_models in the order of creation:", [model.name for model in newest])
by_id = [output.model_id for output in found] == sorted(logged)
in_order = [model.model_id for model in newest] == logged
sys.exit(0 if by_id and in_order else "no longer so")
PY
