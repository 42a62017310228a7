#!/usr/bin/env bash
# MLflow 3.17.2: two different arrays are the same data set.
#
# A data set's digest is what MLflow shows of the data behind a run, and what it keeps data sets apart by. For
# mlflow.data.from_numpy it is made of the shape and the first 10,000 numbers. Embeddings of width 768 reach that with
# row 14: whatever changes after it, say other targets or another split, is the same name and the same digest. The
# input of two runs then is one record, and a run shows the data of another.
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
import numpy as np

mlflow.set_tracking_uri("sqlite:///mlflow.db")
first = np.random.default_rng(0).normal(size=(1000, 768)).astype("float32")
second = first.copy()
second[14:] = np.random.default_rng(1).normal(size=(986, 768))
changed = (first != second).any(axis=1).mean()

digests, recorded = [], []
for array in (first, second):
    data = mlflow.data.from_numpy(array, name="embeddings")
    with mlflow.start_run() as run:
        mlflow.log_input(data)
    digests.append(data.digest)
    recorded.append(mlflow.get_run(run.info.run_id).inputs.dataset_inputs[0].dataset.digest)

print("mlflow", mlflow.__version__, "numpy", np.__version__)
print(f"expected: two digests, {changed:.1%} of the rows differ")
print("seen:", digests, "and of the runs' inputs", recorded)
sys.exit(0 if len({*digests, *recorded}) == 1 and changed > 0.98 else "no longer so")
PY
