"""What a launch needs beside its spaces and its data: a place, MLflow's store, a database, a cluster."""

import os
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands.launch import LaunchRequest
from losstune.tuning.execute.join import head_of
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import study_exists, translating_failures
from losstune.tuning.track.tracking_uri import tracking_uri_of

_ANY_NAME = "any"


def check_surroundings(request: LaunchRequest) -> bool:
    """Find what would stop a launch, or leave MLflow without its runs; nothing is written. Whether the study is there.

    Raises:
        UserError: a name that can not be, a place that can not be written, a server that does not answer, or a study
            that another launch holds.
    """
    from losstune.tuning.track.mlflow_store import check_answers  # loads MLflow

    home, name = request.home, request.name or _ANY_NAME
    with translating_failures(home, name):
        exists = study_exists(home, name) and bool(request.name)
        if home.bucket is None:
            _check_writable(home)
        if home.trial_store(name).is_held() and request.name:
            raise UserError(f"a launch of study {name!r} is running")
    check_answers(tracking_uri_of(home, request.execution.tracking_uri))
    if request.execution.address is not None:
        head_of(request.execution.address)
    return exists


def _check_writable(home: Home) -> None:
    """Its folder, or what is there of the way to it."""
    root = home.root.absolute()
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--storage {home.where}: {_named(there)} can not be written")


def _named(path: Path) -> str:
    return f"{path}" if path.is_dir() else f"{path} is no folder, and"
