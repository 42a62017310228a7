"""Arrays that are kept with a study."""

from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.sources import raw_arrays
from losstune.tuning.storage.home import Home
from losstune.tuning.study.kept_data import keep_arrays, study_pairs
from losstune.tuning.study.study import create_study, open_study
from tests.trainer.samples import sample_arrays
from tests.tuning.samples import CONTINUOUS, settings_of, space_of


@pytest.mark.parametrize("more", [{}, {"ids": range(200)}, {"split": ["train", "val", "test", "train"] * 50}])
def test_they_come_back_as_the_same_data_also_where_the_folder_was_moved(tmp_path: Path, more: dict) -> None:
    given = {**sample_arrays(), **more}
    home = Home(tmp_path / "one")
    files = home.files("study")
    files.folder.mkdir(parents=True)
    source = keep_arrays(files, raw_arrays(given))
    digest = load_pairs(given).digest
    create_study(home, "study", [space_of(CONTINUOUS)], settings_of(), source, digest)
    (tmp_path / "one").rename(tmp_path / "two")
    study = open_study(Home(tmp_path / "two"), "study")
    assert study.keeps_data
    assert study.data_source == str(tmp_path / "two" / "studies" / "study" / "data.npz")
    assert study_pairs(study).digest == digest


def test_a_study_knows_how_its_arrays_are_named(tmp_path: Path) -> None:
    arrays = sample_arrays()
    for file in ("pairs", "copy"):
        np.savez(tmp_path / f"{file}.npz", anchor=arrays["inputs"], positive=arrays["targets"])
    np.savez(tmp_path / "plain.npz", **arrays)
    pairs = load_pairs(str(tmp_path / "pairs.npz"), {"inputs": "anchor", "targets": "positive"})
    create_study(Home(tmp_path), "s", [space_of(CONTINUOUS)], settings_of(), pairs.source, pairs.digest, pairs.columns)
    study = open_study(Home(tmp_path), "s")
    assert study.spec.columns == "inputs=anchor,targets=positive"
    assert study.spec.settings.training(study.data_source, 1, study.spec.columns)["columns"] == study.spec.columns
    for found in (
        study_pairs(study),
        study_pairs(study, tmp_path / "copy.npz"),
        study_pairs(study, tmp_path / "plain.npz", {"inputs": "inputs", "targets": "targets"}),
    ):
        assert found.digest == pairs.digest


def test_other_data_stays_where_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    pairs = load_pairs(str(tmp_path / "pairs.npz"))
    study = create_study(Home(tmp_path), "s", [space_of(CONTINUOUS)], settings_of(), pairs.source, pairs.digest)
    assert not study.keeps_data
    assert study_pairs(study).source == study.data_source == str(tmp_path / "pairs.npz")
