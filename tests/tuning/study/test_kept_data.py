"""Where the data of a study is: kept with it, or wherever its user has it now."""

import importlib
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from losstune.trainer.data.column_names import columns_of_roles
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.sources import as_array
from losstune.tuning.storage.home import Home
from losstune.tuning.study.kept_data import keep_arrays, study_pairs, with_data_at
from losstune.tuning.study.study import create_study, open_study
from tests.trainer.samples import refusal, sample_arrays
from tests.tuning.samples import CONTINUOUS, settings_of, space_of

NAMES = [f"doc-{row}" for row in range(200)]
NEGATIVES = np.random.default_rng(0).normal(size=(200, 2, 5))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ids": range(200)},
        {"split": ["train", "val", "test", "train"] * 50},
        {"negatives": NEGATIVES},
        {"ids": pd.Series(NAMES), "negatives": np.array(NAMES, dtype=object)[::-1, None]},
        {"split": pd.Series(["Train", "val", "test", "train"] * 50), "groups": [UUID(int=row) for row in range(200)]},
        {"groups": np.array(NAMES, dtype=np.dtypes.StringDType())},
    ],
    ids=lambda more: " ".join(f"{name} {type(array).__name__}" for name, array in more.items()) or "nothing",
)
def test_they_come_back_as_the_same_data_also_where_the_folder_was_moved(tmp_path: Path, more: dict) -> None:
    given = {**sample_arrays(), **more}
    home = Home(tmp_path / "one")
    files = home.files("study")
    files.folder.mkdir(parents=True)
    source = keep_arrays(files, {name: as_array(array, name) for name, array in given.items()})
    columns = columns_of_roles(given)
    pairs = load_pairs(given, columns)
    digest, settings = pairs.digest, settings_of().under(pairs.rules)
    create_study(home, "study", [space_of(CONTINUOUS)], settings, source, digest, columns)
    (tmp_path / "one").rename(tmp_path / "two")
    study = open_study(Home(tmp_path / "two"), "study")
    assert study.keeps_data
    assert study.data_source == str(tmp_path / "two" / "studies" / "study" / "data.npz")
    assert study_pairs(study).digest == digest
    assert (study_pairs(study).negatives is None) == ("negatives" not in more)


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


SOURCES = ["pairs.npz", "folder", "shards", "shards/*.parquet", "moved_pairs:load"]


def write_pairs(root: Path, source: str) -> str:
    """The same pairs at a source of each kind below a folder, which is made; returns it as ``--data`` takes it."""
    arrays = sample_arrays()
    root.mkdir()
    match source:
        case "pairs.npz":
            np.savez(root / source, **arrays)
        case "folder":
            (root / source).mkdir()
            for name, array in arrays.items():
                np.save(root / source / f"{name}.npy", array)
        case "moved_pairs:load":
            np.savez(root / "pairs.npz", **arrays)
            reads = f"import numpy\n\ndef load():\n    return dict(numpy.load({str(root / 'pairs.npz')!r}))\n"
            (root / "moved_pairs.py").write_text(reads)
            return source
        case _:
            (root / "shards").mkdir()
            for part, rows in enumerate(np.array_split(np.arange(len(arrays["inputs"])), 2)):
                columns = {name: list(array[rows]) for name, array in arrays.items()}
                pq.write_table(pa.table(columns), root / "shards" / f"{part}.parquet")
    return str(root / source)


@pytest.mark.parametrize("source", SOURCES)
def test_data_that_has_moved_is_found_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "old")
    pairs = load_pairs(write_pairs(tmp_path / "old", source))
    study = create_study(Home(tmp_path), "s", [space_of(CONTINUOUS)], settings_of(), pairs.source, pairs.digest)
    assert with_data_at(study, study_pairs(study)) == study
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.delitem(sys.modules, "moved_pairs", raising=False)
    importlib.invalidate_caches()
    message = refusal(study_pairs, study)
    assert pairs.source in message
    assert message.endswith(
        "\nThat is where study 's' had its data: --data names its new place, where its content is the same"
    )
    assert "expected digits" not in message
    new = write_pairs(tmp_path / "new2", "pairs.npz") if ":" in source else str(tmp_path / "new" / source)
    found = with_data_at(study, study_pairs(study, new))
    assert found.data_source == new
    assert study_pairs(found).digest == found.spec.data_digest == pairs.digest
    assert found.data_settings == {"data": new, "columns": None}


def test_data_that_is_there_and_damaged_is_not_said_to_have_moved(tmp_path: Path) -> None:
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    pairs = load_pairs(str(tmp_path / "pairs.npz"))
    study = create_study(Home(tmp_path), "s", [space_of(CONTINUOUS)], settings_of(), pairs.source, pairs.digest)
    (tmp_path / "pairs.npz").write_bytes(b"no archive")
    assert "--data names its new place" not in refusal(study_pairs, study)


def test_what_a_study_keeps_stays_its_own_also_where_the_same_is_given_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    files = home.files("s")
    files.folder.mkdir(parents=True)
    source = keep_arrays(files, sample_arrays())
    np.savez(tmp_path / "pairs.npz", **sample_arrays())
    pairs = load_pairs(str(tmp_path / "pairs.npz"))
    study = create_study(home, "s", [space_of(CONTINUOUS)], settings_of(), source, pairs.digest)
    assert with_data_at(study, study_pairs(study, tmp_path / "pairs.npz")) is study
    elsewhere = create_study(home, "t", [space_of(CONTINUOUS)], settings_of(), pairs.source, pairs.digest)
    assert with_data_at(elsewhere, study_pairs(elsewhere, sample_arrays())) is elsewhere
