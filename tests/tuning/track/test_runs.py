"""A run's beginning comes from the truth: shown early or late, it is the same run."""

import math
from pathlib import Path

from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import plans, save_plan
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import ranked
from losstune.tuning.track.runs import LOSS_TAG, study_picture
from tests.tuning.reported import VARIANTS, confirmed, searched


def starts(study: Study, activity: str | None = None) -> dict[str, float]:
    return {run.key: run.started for run in study_picture(study, study.trials(), activity)}  # type: ignore[arg-type]


def test_variants_of_a_loss_are_runs_of_their_own_with_the_loss_as_a_parameter(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (2, 4), spaces=VARIANTS), top=1, seeds=2)
    runs = {run.key: run for run in study_picture(study, study.trials(), None)}
    assert {"infonce", "infonce-0000", "sharp", "sharp-0000", "sharp-start/seed-01"} <= set(runs)
    for name in ("infonce", "sharp"):
        assert runs[name].params == {"loss_fn": "infonce"}
        assert all(run.identity[LOSS_TAG] == name for run in runs.values() if run.key.startswith(name))
        assert runs[f"{name}-0000"].parent == name
    assert "**Which settings of `sharp (infonce)`, on " in runs["sharp"].note
    assert runs["confirm"].tags["losstune.winner"] == "sharp"


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
    """What ranks all runs of the confirmation."""
    runs = [run for run in study_picture(study, study.trials(), None) if run.parent == "confirm"]
    return {point.value for run in runs for point in run.points if point.metric == "confirmed/mrr"}


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


def test_each_kind_of_run_is_ranked_by_a_number_of_its_own(tmp_path: Path) -> None:
    """Sorting the trials by theirs lists each of the ranked ones once, as ``status`` ranks them, and nothing else."""
    study = confirmed(searched(tmp_path, (5, 4)), top=1, seeds=2)
    trials = study.trials()
    runs = list(study_picture(study, trials, None))
    values: dict[str, dict[str, float]] = {}
    for run in runs:
        for point in run.points:
            values.setdefault(point.metric, {})[run.key] = point.value
    in_order = [trial.name for trial in ranked(trial for own in trials.values() for trial in own)]
    assert sorted(values["best/mrr"], key=lambda name: -values["best/mrr"][name]) == in_order
    assert not {"infonce-0001", "infonce-0002"} & values["best/mrr"].keys()  # diverged and failed
    assert values["winner/mrr"] == {
        loss: max(value for name, value in values["best/mrr"].items() if name.startswith(loss)) for loss in trials
    }
    assert {run.key for run in runs if run.parent == "confirm" and run.config} == values["confirmed/mrr"].keys()
    assert all(math.isfinite(value) for own in values.values() for value in own.values())


def test_names_of_trials_and_seeds_sort(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (12, 1)), top=1, seeds=11)
    names = [run.key for run in study_picture(study, study.trials(), None) if run.config]
    trials, seeds = names[:12], [name for name in names if name.startswith("infonce-start/")]
    assert (trials, seeds) == (sorted(trials), sorted(seeds))
    assert (len(trials), len(seeds)) == (12, 11)


def test_the_run_above_says_which_loss(tmp_path: Path) -> None:
    study = searched(tmp_path, (2, 1))
    parents = {run.key: dict(run.params) for run in study_picture(study, study.trials(), None) if run.parent is None}
    assert parents == {"infonce": {"loss_fn": "infonce"}, "cosine": {"loss_fn": "cosine"}}
