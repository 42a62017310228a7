"""What a confirmation found, as it is kept and read again."""

import math
from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.confirm.arms import Arm
from losstune.tuning.confirm.plan import RESULTS_FILE, SCORES_FILE, latest_finished, plan_folder
from losstune.tuning.confirm.results import (
    ArmResult,
    Results,
    confirmed_run,
    in_common,
    load_results,
    save_results,
)
from losstune.tuning.study.study import Study
from tests.tuning.reported import confirmed, searched


def arm(name: str, *validation: float | None) -> ArmResult:
    return ArmResult(name=name, loss_fn=name.split("-")[0], role="candidate", validation=list(validation))


def test_an_arm_that_an_earlier_release_kept_has_the_name_of_its_loss() -> None:
    kept = {"name": "mse-0003", "loss_fn": "mse", "role": "candidate"}
    assert Arm.model_validate(kept | {"settings": {}, "search_value": 0.5}).loss == "mse"
    assert ArmResult.model_validate(kept | {"validation": []}).loss == "mse"
    assert ArmResult(name="ridge", loss_fn=None, role="baseline", validation=[]).loss is None


RESULTS = Results(
    picks={"mse": "mse-0001", "cosine": "cosine-0003"},
    arms=[arm("mse-0001", 0.3, 0.5, 0.1), arm("cosine-0003", 0.2, 0.2, 0.4), arm("cosine-0004", 0.9, None, 0.9)],
    targets=25,
    test_uses_before=0,
)


def test_an_arm_counts_by_its_mean_and_not_at_all_if_one_seed_failed() -> None:
    assert RESULTS.arm("mse-0001").validation_mean == pytest.approx(0.3)
    assert RESULTS.arm("cosine-0004").validation_mean == -math.inf
    assert arm("empty").validation_mean == -math.inf


def test_an_arm_that_stopped_is_below_one_with_all_seeds_whatever_its_first_splits_were_like() -> None:
    easy = arm("mse-0001", 0.9, 0.9).model_copy(update={"lost_to": "cosine-0003"})
    found = RESULTS.model_copy(update={"arms": [easy, *RESULTS.arms[1:]]})
    assert found.winner == "cosine"
    assert found.arm("cosine-0004").standing < easy.standing < found.arm("cosine-0003").standing


def test_two_arms_have_the_first_seeds_in_common() -> None:
    a, b = np.arange(6).reshape(3, 2), np.arange(4).reshape(2, 2)
    for one, other in ((a, b), (b, a)):
        np.testing.assert_array_equal(in_common(one, other), [b, b])


def test_the_winner_has_the_highest_mean_and_stands_with_its_best_seed() -> None:
    assert RESULTS.winner == "mse"
    assert (RESULTS.best_seed("mse-0001"), RESULTS.best_seed("cosine-0004")) == (1, 0)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return confirmed(searched(tmp_path, trials=(3, 3)), top=1, seeds=3)


def test_results_and_scores_come_back_as_they_were(study: Study) -> None:
    plan = latest_finished(study)
    assert plan is not None
    scores = {"mse-0001": {"mrr": np.array([[0.1, 1 / 3]])}, "confirm:ridge": {"mse": np.zeros((2, 3))}}
    save_results(study, plan, RESULTS, scores)
    results, found = load_results(study, plan)
    assert results == RESULTS
    assert found.keys() == scores.keys()
    for name, own in scores.items():
        for metric, values in own.items():
            np.testing.assert_array_equal(found[name][metric], values)


@pytest.mark.parametrize("name", [RESULTS_FILE, SCORES_FILE])
def test_a_damaged_file_is_one_error_with_a_way_on(study: Study, name: str) -> None:
    plan = latest_finished(study)
    assert plan is not None
    path = plan_folder(study, plan.number) / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"can not be read \(.*\); remove results.json there, and confirm again"):
        load_results(study, plan)


def test_the_run_that_stands_for_a_loss_or_for_the_winner(study: Study) -> None:
    plan = latest_finished(study)
    assert plan is not None
    pick = plan.candidates("cosine")[0].name
    (own, winners) = (confirmed_run(study, loss) for loss in ("cosine", None))
    assert own is not None
    assert winners is not None
    assert own.name == f"{pick}/seed-00"
    assert winners.arm.loss == "infonce"
    assert confirmed_run(study, "mse") is None


def test_before_a_confirmation_no_run_stands_for_anything(tmp_path: Path) -> None:
    assert confirmed_run(searched(tmp_path, trials=(3, 3)), None) is None
