"""Addresses of artifacts in a folder that was moved or copied.

MLflow keeps each of them whole in its database, and no call of its own changes one: runs of before would show no
artifacts, and new ones would be written to where the folder was. So the columns are changed, where MLflow's database is
a file; the test beside this module says so when MLflow has others. Names, notes, tags and registered versions stay.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"
"""Folder of the artifacts, beside ``studies/``."""
_OF_EXPERIMENT = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)
_OF_REGISTRY = (("model_versions", "source"), ("model_versions", "storage_location"))


def follow_folder(store: Path, root: Path) -> None:
    """Make the artifacts known where they are now, of every experiment that has its folder under ``root`` too.

    Args:
        store: MLflow's database file, beside the studies of ``root``.
    """
    with closing(sqlite3.connect(store, timeout=60)) as database:
        known = database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    for experiment_id, location in known:
        place = root / ARTIFACTS / Path(location).name
        if place.is_dir():
            follow_artifacts(store, str(experiment_id), location, str(place))


def follow_artifacts(store: Path, experiment_id: str, before: str, place: str) -> None:
    """Make an experiment's artifacts known where they are now.

    Args:
        store: MLflow's database file.
        before: where MLflow has them.
        place: the folder where they are. Where MLflow's is no folder of that kind, it is its user's, and stays.
    """
    if before == place or Path(before).parts[-2:] != Path(place).parts[-2:]:
        return
    with closing(sqlite3.connect(store, timeout=60)) as database, database:
        for table, column in _OF_EXPERIMENT:
            _replace(database, table, column, before, place, f"experiment_id = {int(experiment_id)}")
        for table, column in _OF_REGISTRY:
            _replace(database, table, column, before, place, "TRUE")


def _replace(database: sqlite3.Connection, table: str, column: str, before: str, place: str, where: str) -> None:
    """Of addresses that are the folder's or lie below it, as a path or as ``file://``."""
    for scheme in ("", "file://"):
        old, new = scheme + before, scheme + place
        database.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE ({column} = ? OR substr({column}, 1, ?) = ?) AND {where}",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )
