"""The URL of a SQLite file: a path may hold what means something in a URL, or to Optuna."""

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.engine import URL

from losstune.trainer.base.errors import UserError


def sqlite_url(path: Path) -> str:
    """What Optuna's storage takes for this file, absolute.

    SQLAlchemy ends a path at ``?`` and, from 2.1 on, reads ``%20`` as a space; what it renders itself it reads back.
    Optuna then runs ``str.format`` on the whole.

    Raises:
        UserError: SQLAlchemy can not be told this path, as one before 2.1 of a ``?``.
    """
    url = f"sqlite:///{path}"
    if not _names(url, path):
        url = URL.create("sqlite", database=str(path)).render_as_string()
        if not _names(url, path):
            raise UserError(f"{path}: SQLAlchemy can not open a path with a '?'; rename that folder")
    return url.replace("{", "{{").replace("}", "}}")


def _names(url: str, path: Path) -> bool:
    return make_url(url).database == str(path)
