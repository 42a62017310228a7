"""What a sync tells MLflow of a study: whether a launch or a confirmation is at it now."""

from pathlib import Path

import pytest

from losstune.tuning.commands import sync
from losstune.tuning.commands.studies import held
from losstune.tuning.commands.sync import sync_study
from losstune.tuning.confirm.plan import make_plan, save_plan
from tests.tuning.reported import confirmed, searched


def test_the_activity_is_what_holds_the_study_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    class Tracker:
        def __init__(self, study: object, uri: str) -> None:
            assert uri == "uri"

        def sync(self, activity: object) -> None:
            told.append(activity)

    monkeypatch.setattr(sync, "Tracker", Tracker)
    study = searched(tmp_path, (4, 4))
    sync_study(study, "uri")
    with held(study.home, "study"):
        sync_study(study, "uri")
        save_plan(study, make_plan(study, 1, 2, 10, 1, split_given=False))
        sync_study(study, "uri")
    confirmed(study)
    with held(study.home, "study"):
        sync_study(study, "uri")
    assert told == [None, "search", "confirm", "search"]
