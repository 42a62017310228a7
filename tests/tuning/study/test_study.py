"""A study on disk: created, opened, deleted."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study
from tests.trainer.samples import refusal
from tests.tuning.samples import CONDITIONAL, facts, new_trials, space_of, used_up
from tests.tuning.study.created import DIGEST, PLAIN, created


def test_a_study_reads_back_as_it_was_created(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL, seed=2**63 - 1)
    again = open_study(Home(tmp_path), "first")
    assert again == study
    assert again.spec.settings == StudySettings(max_epochs=27, epochs_per_loss=270, seed=2**63 - 1, sampler="gp")
    assert (again.spec.data_source, again.spec.data_digest) == ("digits", DIGEST)
    assert {"python", "losstune", "torch", "ray", "optuna", "mlflow"} <= set(again.spec.versions)
    assert again.folder == tmp_path / "studies" / "first"
    assert again.trials_folder.is_dir()


def test_frozen_spaces_are_the_spaces_of_the_first_launch(tmp_path: Path) -> None:
    created(tmp_path, CONDITIONAL, PLAIN)
    spaces = open_study(Home(tmp_path), "first").spec.search_spaces()
    assert list(spaces) == ["infonce", "mse"]
    for space, text in zip(spaces.values(), (CONDITIONAL, PLAIN), strict=True):
        assert space == space_of(text, file=space.file)


def test_trials_are_in_the_study_s_own_storage(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    trials = new_trials(space_of(PLAIN), study.storage())
    trials.end(trials.add({"lr": 0.001}, seed=0), used_up())
    found = open_study(Home(tmp_path), "first").trials()
    assert [facts(trial) for trial in found["mse"]] == [facts(trials[0])]
    assert found["infonce"] == []
    assert (study.folder / "optuna.db").exists()


def test_a_name_outside_the_root_creates_nothing(tmp_path: Path) -> None:
    (root := tmp_path / "root").mkdir()
    with pytest.raises(UserError):
        created(root, name="../../x")
    with pytest.raises(UserError), Home(root).locked("../../x"):
        pass
    assert list(tmp_path.iterdir()) == [root]
    assert list(root.iterdir()) == []


def test_an_unknown_study_says_which_there_are(tmp_path: Path) -> None:
    assert refusal(open_study, Home(tmp_path), "third") == f"no study 'third' in {tmp_path / 'studies'}; found: none"
    created(tmp_path, name="second")
    created(tmp_path, name="first")
    message = refusal(open_study, Home(tmp_path), "third")
    assert message == f"no study 'third' in {tmp_path / 'studies'}; found: first, second"


def test_a_deleted_study_is_gone(tmp_path: Path) -> None:
    created(tmp_path)
    created(tmp_path, name="second")
    open_study(Home(tmp_path), "first").delete()
    assert Home(tmp_path).names() == ["second"]
    assert not (tmp_path / "studies" / "first").exists()


def test_spaces_are_kept_as_they_were_written(tmp_path: Path) -> None:
    spaces: dict[str, SearchSpace] = created(tmp_path, PLAIN).spec.search_spaces()
    assert spaces["mse"].source == space_of(PLAIN).source
