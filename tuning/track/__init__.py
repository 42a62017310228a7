"""What MLflow is to show. The only package that imports mlflow.

MLflow reads some of its settings when it is imported, so they are made here, before any module of this package is.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
