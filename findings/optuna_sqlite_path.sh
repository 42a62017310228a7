#!/usr/bin/env bash
# Optuna 5.0.0 with SQLAlchemy 2.1.9: the storages of two folders are one file, which is in neither.
#
# A storage is named as sqlite:///PATH, and that is parsed as a URL: the path ends at a question mark, and from
# SQLAlchemy 2.1 on %20 in it is a space (2.0 left it). Of folders lr?0.1 and lr?0.2 both get the file lr beside them:
# no error, and the second study goes on with the trials of the first. Optuna also runs str.format on the whole, so a
# brace in the path is a KeyError or an IndexError. What helps is sqlalchemy.engine.URL.create("sqlite",
# database=path).render_as_string().
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check optuna==5.0.0 sqlalchemy==2.1.9

mkdir 'lr?0.1' 'lr?0.2' 'My%20Data' '{name}'
venv/bin/python - <<'PY' 2>warnings.txt || { cat warnings.txt >&2; exit 1; }
import sys
from pathlib import Path

import optuna
import sqlalchemy

optuna.logging.set_verbosity(optuna.logging.ERROR)


def trials(folder: str) -> int | str:
    """How many a study in a folder has after one more, or what comes instead."""
    try:
        url = f"sqlite:///{Path(folder).absolute() / 'optuna.db'}"
        study = optuna.create_study(study_name="study", storage=url, load_if_exists=True)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        return len(study.trials)
    except Exception as error:
        return type(error).__name__


found = {folder: trials(folder) for folder in ("lr?0.1", "lr?0.2", "My%20Data", "{name}")}
inside = [str(path) for path in Path().glob("*/optuna.db")]
print("optuna", optuna.__version__, "sqlalchemy", sqlalchemy.__version__)
print("expected: a study of one trial in each of four folders")
print("seen:", found, "in their folders", inside, "and a file lr", Path("lr").is_file())
wrong = found["lr?0.2"] == 2 and not inside and Path("lr").is_file() and found["{name}"] == "KeyError"
sys.exit(0 if wrong and found["My%20Data"] == "OperationalError" else "no longer so")
PY
