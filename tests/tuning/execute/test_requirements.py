"""What machines are compared by, and how a difference is said."""

import sys
from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.tuning.execute.requirements import Needs, advice, differences, found_here, needs_of
from losstune.tuning.study.versions import PACKAGES
from tests.trainer.samples import sample_arrays
from tests.tuning.samples import space_of

NODE = "node 10.0.0.7 (3f2a91c0): "


def pairs_of(source: str) -> Pairs:
    return make_pairs({"inputs": np.eye(4), "targets": np.eye(4)}, source)


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's with a loss, on the path."""
    package = tmp_path / "site" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("from mine.parts import WIDTH\n\ndef build(): ...\n")
    (package / "parts.py").write_text("WIDTH = 3\n")
    monkeypatch.syspath_prepend(str(package.parent))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_versions_and_our_own_code_are_always_compared() -> None:
    found = found_here(Needs())
    assert list(found) == ["python", *PACKAGES, "code of losstune"]
    assert found["python"] == "{}.{}".format(*sys.version_info[:2])


def test_a_change_in_any_file_of_the_users_package_is_a_difference(own_package: Path) -> None:
    needs = Needs(losses=("mse",), factories=("mine.models:build",))
    before = found_here(needs)
    assert before["loss mse"] == "ours"
    (own_package / "parts.py").write_text("WIDTH = 4\n")
    after = found_here(needs)
    digests = before["model mine.models:build"], after["model mine.models:build"]
    assert differences(before, after) == [f"model mine.models:build: {digests[1]} there, {digests[0]} here"]


def test_code_that_can_not_be_imported_is_said() -> None:
    found = found_here(Needs(factories=("absent.models:build",)))
    assert found["model absent.models:build"] == "model.factory absent.models:build: No module named 'absent'"


def test_folders_are_seen_by_what_is_in_them(tmp_path: Path) -> None:
    token = tmp_path / ".launched-1"
    needs = Needs(data=tmp_path / "data", token=token)
    assert [found_here(needs)[name] for name in (f"data {needs.data}", f"folder {tmp_path}")] == ["not seen"] * 2
    token.touch()
    (tmp_path / "data").mkdir()
    assert [found_here(needs)[name] for name in (f"data {needs.data}", f"folder {tmp_path}")] == ["seen"] * 2


def test_what_a_study_needs_is_read_from_its_spaces_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()  # has nothing to do with the data of that name
    space = space_of("""
        loss_fn: mse
        space: {lr: {low: 1.0e-4, high: 1.0e-1}}
    """)
    assert needs_of([space], pairs_of("digits"), None) == Needs(losses=("mse",), folders=(str(tmp_path),))
    for name, array in sample_arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    assert needs_of([space], load_pairs(str(tmp_path)), None).data == tmp_path


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["torch: 2.6.0 there, 2.13.0 here"], "install the same environment and the same code on every node"),
        (["folder /s: not seen there, seen here"], "give --storage s3://… or a folder that every node mounts"),
        (["data /d: not seen there, seen here"], "put the data at the same path on every node"),
        (
            ["data /d: not seen there, seen here", "can not run losstune: No module named 'losstune'"],
            "install the same environment and the same code on every node; put the data at the same path on every node",
        ),
    ],
)
def test_each_kind_of_difference_has_its_remedy(lines: list[str], said: str) -> None:
    assert advice([NODE + line for line in lines]) == said
