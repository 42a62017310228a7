#!/usr/bin/env bash
# MLflow 3.17.2: the model of a run that was deleted for good is served as before.
#
# A run logs a model and registers it, an alias names that version, the run is deleted, and `mlflow gc` removes deleted
# runs permanently. One expects the alias to be refused, or the deletion to be. Since MLflow 3 a logged model is an
# entity beside its run: gc removes the run from the database and leaves the model and its files, and the alias loads
# it without a word, though the run that would say from which data and settings it came is no longer there.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  mlflow==3.17.2 pandas==3.1.1 pyarrow==25.0.1 numpy==2.4.6

cat > model.py <<'PY'
import mlflow


class Greeting(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return [f"hello {name}" for name in model_input]


mlflow.models.set_model(Greeting())
PY

venv/bin/python - <<'PY' 2>warnings.txt || { cat warnings.txt >&2; exit 1; }
import subprocess
import sys

import mlflow

store = "sqlite:///mlflow.db"
mlflow.set_tracking_uri(store)
client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    mlflow.pyfunc.log_model(name="greeting", python_model="model.py", registered_model_name="greeting")
client.set_registered_model_alias("greeting", "champion", "1")
client.delete_run(run.info.run_id)
gc = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", store]
said = subprocess.run(gc, check=True, capture_output=True, text=True).stdout.strip()

try:
    client.get_run(run.info.run_id)
    gone = False
except mlflow.exceptions.MlflowException as error:
    gone = "not found" in str(error)
served = mlflow.pyfunc.load_model("models:/greeting@champion").predict(["you"])
print("mlflow", mlflow.__version__)
print("gc said:", said)
print("expected: models:/greeting@champion is refused, or the deletion of its run was")
print("seen: the run is", "gone" if gone else "there", "and the alias answers", served)
sys.exit(0 if gone and served == ["hello you"] else "no longer so")
PY
