"""What a confirmation compares: the search's best settings of each loss, and each loss's untuned start."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.confirm.plan import (
    PLAN_FILE,
    Plan,
    is_finished,
    latest_finished,
    make_plan,
    plan_folder,
    plans,
    record_test_use,
    save_plan,
    saw_test_rows,
    with_smallest,
)
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import ranked
from tests.tuning.reported import confirmed, point_of, searched
from tests.tuning.samples import failed


def plan_of(study: Study, top: int = 2, number: int = 1) -> Plan:
    return make_plan(study, number, top, seeds=10, threads=1, split_given=False)


def test_a_plan_has_the_best_trials_of_each_loss_in_the_searchs_order(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(9, 6))
    plan = plan_of(study)
    assert plan.losses == ["infonce", "cosine"]
    for loss, trials in study.trials().items():
        best = ranked(trials)[:2]
        candidates = plan.candidates(loss)
        assert [arm.name for arm in candidates] == [trial.name for trial in best]
        assert [arm.search_value for arm in candidates] == [trial.rank_value for trial in best]
        assert plan.starts[loss] == f"{loss}-start"
    assert not {"seed", "split_seed"} & {name for arm in plan.arms for name in arm.settings}


def test_the_start_is_untuned_but_is_trained_as_the_candidates_are(tmp_path: Path) -> None:
    plan = plan_of(searched(tmp_path, trials=(6, 6)))
    arms = {arm.name: arm for arm in plan.arms}
    start, candidate = arms["cosine-start"], plan.candidates("cosine")[0]
    assert (start.role, start.search_value) == ("start", None)
    assert start.settings["lr"] != candidate.settings["lr"]
    assert start.settings["model.dropout"] == 0.0  # the default, whatever the search tried
    for name in ("data", "num_epochs", "objective", "device", "threads"):
        assert start.settings[name] == candidate.settings[name]


def test_a_loss_without_a_value_is_left_out_once_its_search_is_over(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(3, 0))
    with pytest.raises(UserError, match="study 'study': cosine has no finished trial with a value to confirm yet"):
        plan_of(study)
    own = LossTrials(study.storage(), "cosine", study.spec.search_spaces()["cosine"])
    own.add(point_of("cosine", 0.5, 0), seed=0)
    with pytest.raises(UserError, match="cosine has no finished trial"):
        plan_of(study)
    own.end(0, failed())
    assert plan_of(study).losses == ["infonce"]


def test_a_study_whose_every_trial_failed_has_nothing_to_confirm(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(0, 0))
    for loss, space in study.spec.search_spaces().items():
        own = LossTrials(study.storage(), loss, space)
        own.end(own.add(point_of(loss, 0.5, 0), seed=0), failed())
    with pytest.raises(UserError, match="study 'study': no loss has a trial with a value to confirm"):
        plan_of(study)


def test_a_trial_that_is_sought_for_being_small_is_one_more_candidate_once(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(9, 6))
    plan = plan_of(study, top=1)
    assert plan.options == ("--top", "1", "--seeds", "10")
    *_, third = ranked(study.trials()["cosine"])[:3]
    wider = with_smallest(study, plan, third, 0.05, threads=1)
    assert [arm.name for arm in wider.arms] == [*(arm.name for arm in plan.arms), third.name]
    added = wider.arms[-1]
    assert (added.role, added.loss_fn, added.search_value) == ("candidate", "cosine", third.rank_value)
    assert added.settings.keys() == plan.candidates("cosine")[0].settings.keys()
    assert wider.options == ("--top", "1", "--seeds", "10", "--smallest", "--margin", "0.05")
    assert with_smallest(study, wider, third, 0.05, threads=1) == wider
    start = plan.model_copy(
        update={"arms": [arm.model_copy(update={"name": "cosine-start"}) for arm in wider.arms[-1:]]}
    )
    assert with_smallest(study, start, third, 0.05, threads=1).arms == start.arms  # trained already, under another name
    assert with_smallest(study, plan, None, 0.05, threads=1).arms == plan.arms
    save_plan(study, wider)
    assert list(plans(study)) == [wider]


def test_a_plan_that_stops_early_says_so_and_one_of_before_does_not(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(3, 3))
    plan = plan_of(study, top=1).model_copy(update={"early": True, "margin": 0.05})
    assert plan.options == ("--top", "1", "--seeds", "10", "--smallest", "--margin", "0.05", "--early")
    before = plan.model_dump(exclude={"early"})
    assert not Plan.model_validate(before).early


def test_plans_are_kept_in_order_and_the_newest_with_results_counts(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, trials=(3, 3)))
    second = plan_of(study, top=1, number=2)
    save_plan(study, second)
    first, *others = plans(study)
    assert others == [second]
    assert (is_finished(study, first), is_finished(study, second)) == (True, False)
    assert latest_finished(study) == first


def test_the_order_of_its_settings_is_nothing_to_what_a_plan_compares(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(4, 4))
    plan = plan_of(study)
    turned = plan.model_copy(update={"arms": plan.arms[::-1]})
    assert turned.arms != plan.arms
    assert turned.compares_now(study) == plan.compares_now(study)
    fewer = plan.model_copy(update={"arms": plan.arms[1:]})
    assert fewer.compares_now(study) != plan.compares_now(study)


def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, trials=(3, 3)))
    path = plan_folder(study, 1) / PLAN_FILE
    path.write_text(path.read_text().replace("seeds: 10", "seeds: 99"))
    with pytest.raises(UserError, match=PLAN_FILE):
        list(plans(study))


def test_the_use_of_the_test_split_is_counted_once_a_confirmation(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=(3, 3))
    first, second = plan_of(study), plan_of(study, number=2)
    assert not saw_test_rows(study, first)
    assert [record_test_use(study, plan) for plan in (first, second, first)] == [0, 1, 0]
    assert saw_test_rows(study, first)
