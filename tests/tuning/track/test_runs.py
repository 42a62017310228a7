"""A run's beginning comes from the truth: shown early or late, it is the same run."""

from pathlib import Path

from losstune.tuning.study.study import Study
from losstune.tuning.track.runs import study_picture
from tests.tuning.reported import confirmed, searched


def starts(study: Study, activity: str | None = None) -> dict[str, float]:
    return {run.key: run.started for run in study_picture(study, study.trials(), activity)}  # type: ignore[arg-type]


def test_a_loss_is_shown_from_its_first_trial_on(tmp_path: Path) -> None:
    study = searched(tmp_path, (2, 0))
    assert set(starts(study, "search")) == {"infonce", "infonce-0000", "infonce-0001"}
    first = study.trials()["infonce"][0]
    assert starts(study, "search")["infonce"] == first.started == starts(study)["infonce"]


def test_every_run_begins_at_the_same_time_whenever_it_is_asked(tmp_path: Path, monkeypatch) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    before = starts(study, "confirm")
    monkeypatch.setattr("time.time", lambda: 9e9)
    assert starts(study) == before
