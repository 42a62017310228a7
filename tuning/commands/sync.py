"""Runs the tracker: beside a launch as a process of its own, and for ``losstune sync``."""

import os
import select
import sys
import time

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.home import STORAGE, STUDY_STORAGE, home_at
from losstune.tuning.storage.passwords import masked
from losstune.tuning.study.study import Study, open_study
from losstune.tuning.track.mlflow_store import brief_requests, translating_mlflow_errors
from losstune.tuning.track.mlflow_sync import Tracker
from losstune.tuning.track.runs import Activity
from losstune.tuning.track.tracking_uri import TRACKING_URI
from losstune.tuning.track.turn import Turn

FOLLOW_SECONDS = 5.0


def follow(study: Study, tracking_uri: str, activity: Activity) -> None:
    """Sync until standard input ends, which it does when the launch has finished or died; then once more."""
    tracker: Tracker | None = None
    with brief_requests(), Turn(study) as turn:
        while not select.select([sys.stdin], [], [], FOLLOW_SECONDS)[0]:
            try:
                if turn.take():
                    tracker = tracker or Tracker(study, tracking_uri)
                    tracker.sync(activity)
            except Exception as error:  # a store that is down now may be up later; the last sync decides
                said = masked(f"{type(error).__name__}: {error}", tracking_uri)
                print(f"{time.strftime('%H:%M:%S')} {said}", file=sys.stderr, flush=True)
                tracker = None
        with translating_mlflow_errors(tracking_uri):
            turn.wait()
            known = tracker if turn.is_sure else None
            (known or Tracker(study, tracking_uri)).sync(None)


def sync_study(study: Study, tracking_uri: str) -> None:
    """Bring MLflow to what the truth says now.

    Raises:
        UserError: a launch is running, whose tracker does that; or MLflow can not be brought there.
    """
    name = study.spec.name
    if study.home.trial_store(name).is_held():
        raise UserError(
            f"a launch of study {name!r} is running: it brings MLflow up to date itself, at its end at the latest; for "
            "another --tracking-uri wait until then"
        )
    with translating_mlflow_errors(tracking_uri), Turn(study) as turn:
        turn.wait()
        Tracker(study, tracking_uri).sync(None)


def main() -> None:
    """The tracker's own process, given NAME ACTIVITY; its environment says where."""
    name, doing = sys.argv[1:]
    try:
        with home_at(os.environ[STORAGE], os.environ[STUDY_STORAGE]) as home:
            study = open_study(home, name)
            follow(study, os.environ[TRACKING_URI], "confirm" if doing == "confirm" else "search")
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
