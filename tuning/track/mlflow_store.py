"""MLflow's store of runs: how it is opened, made, and what goes wrong with it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from mlflow.tracking import MlflowClient

from losstune.trainer.base.errors import UserError, translating
from losstune.tuning.storage.passwords import masked
from losstune.tuning.track.tracking_uri import SQLITE

CONNECT_SECONDS = 10
_BRIEF = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What MLflow reads at each request: unless told, it tries a server that is down for minutes."""


def client_of(tracking_uri: str) -> MlflowClient:
    """One store for runs and models: unless told, MLflow takes the registry from ``MLFLOW_REGISTRY_URI``."""
    if tracking_uri.startswith("postgresql"):
        _check_answers(tracking_uri)
    return MlflowClient(tracking_uri, registry_uri=tracking_uri)


def _check_answers(database: str) -> None:
    """A server that is down is one error at once: MLflow would try for two minutes, with a warning each time."""
    engine = sqlalchemy.create_engine(database, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def check_answers(tracking_uri: str) -> None:
    """Make sure that a store can be used, without making one: a SQLite file that is not there yet needs its folder.

    Raises:
        UserError: it can not.
    """
    path = Path(tracking_uri.removeprefix(SQLITE)) if tracking_uri.startswith(SQLITE) else None
    with translating_mlflow_errors(tracking_uri):
        if path is None or path.exists():
            client_of(tracking_uri).search_experiments(max_results=1)


def create_store(path: Path) -> None:
    """MLflow's database whole or not at all: it makes its tables in many steps, and does not open one cut short.

    What another launch has made meanwhile stays: it has runs already, and its connections would go on writing to a file
    that no longer has a name.
    """
    if path.exists() or not path.parent.is_dir():
        return
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        client_of(f"{SQLITE}{draft}").search_experiments(max_results=1)
        _name_if_free(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _name_if_free(draft: Path, path: Path) -> None:
    """Give a file this name, where no other one has it; renaming would replace that."""
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links
        if not path.exists():
            draft.replace(path)


@contextmanager
def default_store(tracking_uri: str) -> Iterator[None]:
    """The store of MLflow's calls that take none, in this block alone: MLflow keeps it for the whole process."""
    import mlflow

    former = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(former)  # type: ignore[arg-type]  # None is "as if never set", which its type leaves out


@contextmanager
def brief_requests() -> Iterator[None]:
    """In this block a server that is down is known soon, and MLflow prints no addresses.

    What the environment says stands. In this block alone: the process may be the user's, whose own calls of MLflow
    have its patience.
    """
    ours = {name: value for name, value in _BRIEF.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def translating_mlflow_errors(tracking_uri: str) -> Iterator[None]:
    """Brief requests; what goes wrong with MLflow in this block is one message without a password.

    Raises:
        UserError: whatever a store or a server that is down raises.
    """

    def told(error: Exception) -> UserError:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return UserError(masked(f"MLflow's store {tracking_uri} can not be used: {reason}", tracking_uri))

    with brief_requests(), translating(Exception, told):
        yield


def millis(seconds: float | None) -> int:
    """MLflow's unit of time, from Unix seconds; 0 for a time that is not known."""
    return int((seconds or 0) * 1000)
