"""The settings that a confirmation trains, and that a name stands for one of them whatever becomes of its space."""

from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.layout import CONFIG_FILE
from losstune.tuning.confirm.arms import Arm, candidate, runs_folder, untuned_start
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import best_trial
from tests.tuning.reported import SPACES, searched, write_run
from tests.tuning.samples import space_of

FIXED = SPACES["cosine"] + "    fixed: {weight_decay: 0.1}\n    "
GROWN = SPACES["cosine"] + "      weight_decay: {choices: [0.1, 0.01]}\n    "
NAME = "cosine-start"


def studied(root: Path) -> Study:
    return searched(root, (2, 2), spaces={**SPACES, "cosine": FIXED})


def grown(study: Study) -> Study:
    """With what was fixed in the space now, whose default is another value."""
    spaces = {**study.spec.spaces, "cosine": dict(space_of(GROWN).source)}
    return Study(study.home, study.spec.model_copy(update={"spaces": spaces}))


def start_of(study: Study, threads: int = 1) -> Arm:
    best = best_trial(study.trials()["cosine"])
    assert best is not None
    return untuned_start(study, "cosine", candidate(study, best, threads), threads)


def trained(study: Study, arm: Arm, seed: int, **changes: Any) -> Path:
    """The files of a run that has begun: its config and an epoch."""
    run = ConfirmRun(study, arm, seed)
    write_run(run.folder, run.settings | changes, [0.5])
    return run.folder / CONFIG_FILE


def test_a_start_whose_space_has_grown_has_runs_of_its_own(tmp_path: Path) -> None:
    study = studied(tmp_path)
    before, after = start_of(study), start_of(grown(study))
    assert (before.settings["weight_decay"], after.settings["weight_decay"]) == (0.1, 0.01)
    assert (before.name, after.name) == (NAME, NAME)  # nothing was trained yet
    trained(study, before, 0)  # also a run that is half done, which would go on with other settings
    assert start_of(study).name == NAME
    again = start_of(grown(study))
    assert again.name == f"{NAME}-2"
    assert ConfirmRun(study, again, 0).folder == runs_folder(study, f"{NAME}-2") / "seed-00"
    trained(study, again, 0)
    assert (start_of(study).name, start_of(grown(study)).name) == (NAME, f"{NAME}-2")


def test_runs_of_two_settings_under_one_name_as_an_earlier_release_left_them_are_no_ones(tmp_path: Path) -> None:
    study = studied(tmp_path)
    trained(study, start_of(study), 0)
    trained(study, start_of(study), 1, weight_decay=0.01)
    assert (start_of(study).name, start_of(grown(study)).name) == (f"{NAME}-2", f"{NAME}-2")


def test_an_option_of_todays_best_trial_is_another_setting_once_that_is_another(tmp_path: Path) -> None:
    """As of a model whose ``width`` has no default: the start takes it from the best trial."""
    study = studied(tmp_path)
    start = start_of(study)
    trained(study, start, 0, **{"model.hidden_dim": 2 * start.settings["model.hidden_dim"]})
    assert start_of(study).name == f"{NAME}-2"


@pytest.mark.parametrize("changes", [{"threads": 2}, {"device": "cuda"}, {"data": "moved.npz"}, {"split_seed": 9}])
def test_where_a_run_was_trained_and_with_which_seeds_is_nothing_to_its_setting(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    study = studied(tmp_path)
    trained(study, start_of(study), 0, **changes)
    assert start_of(study, threads=4).name == NAME


def test_a_damaged_config_of_a_run_is_an_error_that_names_it(tmp_path: Path) -> None:
    study = studied(tmp_path)
    path = trained(study, start_of(study), 0)
    path.write_text(path.read_text().replace("weight_decay: 0.1", "weight_decay: 0.2"))
    with pytest.raises(UserError) as refused:
        start_of(study)
    assert str(refused.value) == f"{path}: damaged or edited, it does not match the SHA-256 in its last line"
