"""One run of a confirmation: its name, its seeds, when it began, how it ended."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import append_durably
from losstune.trainer.run.history import history_line
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.confirm_runs import (
    RESULT_FILE,
    ConfirmRun,
    began,
    confirm_seeds,
    ended_values,
    looked,
    runs_by_arm,
    runs_of,
)
from losstune.tuning.confirm.plan import plans
from tests.tuning.reported import confirmed, searched
from tests.tuning.samples import settings_of


def test_runs_go_seed_by_seed_so_that_what_is_there_early_can_be_compared(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    plan = next(plans(study))
    names = [arm.name for arm in plan.arms]
    assert [run.name for run in runs_of(study, plan)] == [f"{name}/seed-0{seed}" for seed in (0, 1) for name in names]


def test_runs_that_the_looks_spare_are_none_of_the_plan(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, early=True)
    plan = next(plans(study))
    stops = looked(plan, ended_values(study, plan)).stops
    assert {name: (stop.seeds, stop.better) for name, stop in stops.items()} == dict.fromkeys(
        ("infonce-start", "cosine-0000", "cosine-start"), (4, "infonce-0000")
    )
    own = runs_by_arm(study, plan)
    assert {name: [run.seed for run in runs] for name, runs in own.items()} == {
        arm.name: list(range(4 if arm.name in stops else 10)) for arm in plan.arms
    }
    whole = plan.model_copy(update={"early": False})
    assert looked(whole, ended_values(study, whole)).stops == {}
    assert len(runs_of(study, whole)) == 40


def test_looks_take_what_ended_and_of_what_failed_that_it_has_no_value(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    plan = next(plans(study))
    first, second, *_ = runs_by_arm(study, plan)["cosine-0000"]
    result = first.result()
    assert result is not None
    first.finish(result.model_copy(update={"best": None, "end": "failed"}))
    (second.folder / RESULT_FILE).unlink()
    known = ended_values(study, plan)
    assert known["cosine-0000"] == {0: None}
    assert [list(own) for own in known.values()] == [[0, 1], [0, 1], [0], [0, 1]]


def test_what_failed_is_to_be_trained_again_and_the_looks_wait_for_it(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, early=True)
    plan = next(plans(study))
    run = runs_by_arm(study, plan)["infonce-0000"][2]
    result = run.result()
    assert result is not None
    assert [run.is_to_be_trained for run in runs_of(study, plan)] == [False] * len(runs_of(study, plan))
    run.finish(result.model_copy(update={"end": "diverged", "best": None}))
    assert not run.is_to_be_trained  # it would again
    run.finish(result.model_copy(update={"end": "failed", "best": None}))
    assert run.is_to_be_trained
    assert ended_values(study, plan)["infonce-0000"][2] is None
    assert list(ended_values(study, plan, again=True)["infonce-0000"]) == [0, 1, *range(3, 10)]
    assert looked(plan, ended_values(study, plan, again=True)) == ({}, 4)
    again = runs_by_arm_of(runs_of(study, plan, again=True))
    assert again == {arm.name: list(range(10)) for arm in plan.arms}  # whatever may turn out not to have lost
    run.finish(result)
    assert looked(plan, ended_values(study, plan)).stops["cosine-0000"].better == "infonce-0000"


def runs_by_arm_of(runs: list[ConfirmRun]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for run in runs:
        found.setdefault(run.arm.name, []).append(run.seed)
    return found


def test_seeds_are_fresh_and_the_same_for_every_arm(tmp_path: Path) -> None:
    study = searched(tmp_path, (1, 1))
    arms = [Arm(name=loss, loss_fn=loss, role="start", settings={}, search_value=None) for loss in ("cosine", "mse")]
    (one, other), (again, _) = ([ConfirmRun(study, arm, seed).settings for seed in (0, 1)] for arm in arms)
    assert one == again
    assert len({one["seed"], one["split_seed"], other["seed"], other["split_seed"]}) == 4
    assert confirm_seeds(settings_of(seed=1), 0) != confirm_seeds(settings_of(seed=2), 0)


def test_a_run_of_a_confirmation_begins_with_its_first_epoch(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    run = runs_of(study, next(plans(study)))[0]
    result = run.result()
    assert result is not None
    assert began(run, result) == result.started
    (run.folder / HISTORY_FILE).unlink()
    assert began(run, None) is None
    append_durably(run.folder / HISTORY_FILE, history_line({"epoch": 1, "time": 100.0, "seconds": 2.5}).encode())
    assert began(run, None) == 97.5


def test_a_result_is_kept_and_a_damaged_one_is_an_error_with_a_way_on(tmp_path: Path) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    run = runs_of(study, next(plans(study)))[0]
    result = run.result()
    assert result is not None
    assert (result.end, result.best_epoch) == ("epochs", 9)
    path = run.folder / RESULT_FILE
    path.write_text(path.read_text().replace("epochs", "epoch5", 1))
    with pytest.raises(UserError) as refused:
        run.result()
    assert str(refused.value) == f"{path}: damaged, its checksum does not match; remove it, and confirm again"
    path.unlink()
    assert run.result() is None
