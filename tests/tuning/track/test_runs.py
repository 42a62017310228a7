"""A run's beginning comes from the truth: shown early or late, it is the same run."""

from pathlib import Path

from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import plans, save_plan
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


def bests(study: Study) -> set[float]:
    """The values named best of all runs of the confirmation."""
    runs = [run for run in study_picture(study, study.trials(), None) if run.parent == "confirm"]
    return {point.value for run in runs for point in run.points if point.metric == "best"}


def test_a_run_that_trains_on_a_sample_shows_its_value_once_it_is_that_of_all_rows(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    plan = next(plans(study))
    runs = runs_of(study, plan)
    assert len(bests(study)) == len(runs)
    arms = [arm.model_copy(update={"settings": {**arm.settings, "eval_queries": 1000}}) for arm in plan.arms]
    save_plan(study, plan.model_copy(update={"arms": arms}))
    assert bests(study) == set()
    runs[0].scored(0.125)
    assert bests(study) == {0.125}
