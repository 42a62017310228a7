"""The address of MLflow's store: as given, or beside the studies; and the option that names it to a command."""

import os
import re
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.home import Home, shell_option
from losstune.tuning.storage.passwords import masked

TRACKING_URI = "LOSSTUNE_TRACKING_URI"
"""Environment variable with MLflow's store: it may hold a password."""
SQLITE = "sqlite:///"
_OF_FILES_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"
"""With it MLflow still keeps runs in a folder of files."""
_NO_PATH = re.compile(r"\?|%[0-9A-Fa-f]{2}")


def tracking_uri_of(home: Home, given: str | None) -> str:
    """MLflow's store: as given, else SQLite beside the studies.

    Raises:
        UserError: a folder of files is given, or a file in a folder that is not there; or none is given, and the
            studies are in a bucket, or in a folder that MLflow would not find again.
    """
    if given:
        _check(home, given)
        return given
    if home.bucket is not None:
        raise UserError(f"--storage {home.bucket} needs --tracking-uri: MLflow can not keep its runs in a bucket alone")
    root = home.root.absolute()
    # MLflow reads addresses where paths are meant: a store's ends at a ?, and of artifacts' too %20 is a space.
    if found := _NO_PATH.search(str(root)):
        raise UserError(
            f"--storage {root}: MLflow can not keep its runs in a folder with {found[0]!r} in its path: a '?', and a "
            "'%' before two hexadecimal digits, mean something else to it; rename the folder, or name a store "
            "elsewhere with --tracking-uri"
        )
    return f"{SQLITE}{root / 'mlflow.db'}"


def is_server(uri: str | None) -> bool:
    """Whether a store is MLflow's server, which has a UI of its own."""
    return uri is not None and uri.startswith("http")


def tracking_option(given: str | None) -> str:
    """What a command needs to come to this store, as :meth:`Home.options`; nothing for the one beside the studies."""
    return shell_option("--tracking-uri", given, TRACKING_URI) if given else ""


def _check(home: Home, uri: str) -> None:
    """Refuse what is wrong for certain: where a server is down a launch goes on, but not towards a wrong word."""
    if os.environ.get(_OF_FILES_ALLOWED, "").lower() in ("true", "1") or uri == "databricks":
        return
    scheme, _, path = uri.partition("://")
    if not path or scheme == "file" or (scheme == "sqlite" and not uri.startswith(SQLITE)):
        raise UserError(
            f"--tracking-uri {masked(uri)}: expected the address of a server, http://HOST:PORT, or of a database, "
            f"{SQLITE}PATH/mlflow.db or postgresql://…; MLflow keeps no new runs in a folder of files"
        )
    if uri.startswith(SQLITE):
        folder = Path(uri.removeprefix(SQLITE)).parent
        if not folder.is_dir() and folder.absolute() != home.root.absolute():  # that one a first launch makes
            raise UserError(f"--tracking-uri {uri}: there is no folder {folder}")
