"""A study's answer as a file: which trial, and where it says it comes from. Whole studies ask it in test_confirm."""

from pathlib import Path

import pytest
import yaml

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.config_file import read_config
from losstune.tuning.commands.export import best_of, export
from losstune.tuning.study.study import Study
from tests.tuning.reported import confirmed, searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (4, 4))


def test_before_a_confirmation_it_is_the_searchs_best(study: Study, tmp_path: Path) -> None:
    for loss in (None, "cosine"):
        exported = export(study, loss, tmp_path / "best.yaml")
        best = best_of(study, loss)
        assert (exported.trial, exported.value, exported.seeds) == (best.name, best.rank_value, 0)
        source = yaml.safe_load((tmp_path / "best.yaml").read_text())["source"]
        assert (source["trial"], source["confirmed"]) == (best.name, False)
        settings = read_config(tmp_path / "best.yaml").settings
        assert {name: settings[name] for name in best.point} == best.point


def test_afterwards_it_is_the_confirmed_winner(study: Study, tmp_path: Path) -> None:
    confirmed(study)
    assert export(study, None, tmp_path / "best.yaml").seeds == 10
    source = yaml.safe_load((tmp_path / "best.yaml").read_text())["source"]
    assert source["trial"].startswith("infonce-")
    assert source["confirmed"] is True


@pytest.mark.parametrize("confirm", [False, True])
def test_the_data_is_where_the_study_has_it_now(study: Study, tmp_path: Path, confirm: bool) -> None:
    if confirm:
        confirmed(study)
    moved = Study(study.home, study.spec.model_copy(update={"data_source": "/new/pairs.npz", "columns": "inputs=a"}))
    export(moved, None, tmp_path / "best.yaml")
    settings = read_config(tmp_path / "best.yaml").settings
    assert (settings["data"], settings["columns"]) == ("/new/pairs.npz", "inputs=a")


def test_what_can_not_be_exported_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--loss-fn: found 'mse'; study 'study' has infonce, cosine"):
        export(study, "mse", tmp_path / "best.yaml")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .*file/best.yaml: can not be written: Not a directory"):
        export(study, None, tmp_path / "file" / "best.yaml")
    with pytest.raises(UserError, match="study 'study' has no finished trial with a value to export yet"):
        export(searched(tmp_path / "empty", (0, 0)), None, tmp_path / "best.yaml")
