"""The user's own files that a study's numbers come from: a change is noticed, and kept on record."""

import hashlib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from losstune.tuning.storage.home import Home
from losstune.tuning.study.spec import StudySpec
from losstune.tuning.study.study import create_study, open_study
from losstune.tuning.study.users_code import code_digests, file_of, with_code_of_now
from losstune.tuning.track.provenance import versions_at
from tests.trainer.losses.packages import TILTED, install
from tests.tuning.samples import CONTINUOUS, settings_of, space_of


@dataclass(frozen=True)
class Code:
    """A loss in a package and a module with a data function, both loaded, under names of this test alone."""

    folder: Path

    @property
    def losses(self) -> str:
        return f"losses_of_{self.folder.name}"

    @property
    def data(self) -> str:
        return f"data_of_{self.folder.name}"

    @property
    def files(self) -> dict[str, Path]:
        """By module."""
        return {
            self.data: self.folder / f"{self.data}.py",
            f"{self.losses}.tilted": self.folder / self.losses / "tilted.py",
        }

    def digests(self) -> dict[str, str]:
        return {module: sha256(path) for module, path in self.files.items()}

    def created(self) -> StudySpec:
        loss = f"loss_fn: {self.losses}.tilted:TiltedConfig\nspace: {{gamma: {{low: 0.5, high: 5.0}}}}\n"
        home, spaces = Home(self.folder / "root"), [space_of(loss), space_of(CONTINUOUS)]
        create_study(home, "own", spaces, settings_of(), f"{self.data}:pairs", "0" * 64)
        return open_study(home, "own").spec


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Code:
    monkeypatch.syspath_prepend(tmp_path)
    code = Code(tmp_path)
    install(tmp_path, code.losses, {"tilted": TILTED}, {})
    code.files[code.data].write_text("def pairs():\n    return {}\n")
    importlib.import_module(code.data)
    return code


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_new_study_knows_the_files_of_what_it_names(code: Code) -> None:
    assert code.created().code == code.digests()
    assert {module: file_of(module) for module in code.files} == code.files


def test_what_is_losstunes_or_no_reference_is_left_out() -> None:
    assert code_digests([space_of(CONTINUOUS)], "digits") == {}
    assert code_digests([space_of(CONTINUOUS)], "/data/pairs.npz") == {}
    assert code_digests([space_of(CONTINUOUS)], "never_loaded:pairs") == {}


def test_a_users_linear_is_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users_linear.py"
    file.write_text(
        "from torch.nn import Linear\n\n"
        "def linear(*, input_shape, output_dim):\n    return Linear(input_shape[0], output_dim)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    space = space_of(
        "loss_fn: mse\nspace: {lr: {low: 1e-4, high: 1e-1}}\nfixed: {model.factory: 'users_linear:linear'}"
    )
    assert code_digests([space], "digits") == {"users_linear": sha256(file)}


def test_a_change_is_told_and_kept_with_both_digests(code: Code) -> None:
    spec, before = code.created(), code.digests()[code.data]
    assert with_code_of_now(spec) == (spec, [])
    code.files[code.data].write_text("def pairs():\n    return {'inputs': []}\n")
    after, changed = with_code_of_now(spec)
    assert changed == [code.data]
    assert after.code == code.digests()
    (change,) = after.changes
    assert change[code.data] == f"SHA-256 {before[:12]} before, {code.digests()[code.data][:12]} from then on"
    assert with_code_of_now(after) == (after, [])
    assert versions_at(after, 0.0) == versions_at(spec, 0.0), "it is no version of a library"


def test_a_study_of_before_digests_were_kept_gets_them_and_nothing_has_changed(code: Code) -> None:
    spec = code.created()
    assert with_code_of_now(spec.model_copy(update={"code": None})) == (spec, [])


def test_a_module_that_is_not_loaded_keeps_what_was_known_of_it(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = code.created()
    monkeypatch.delitem(sys.modules, code.data)
    code.files[code.data].write_text("")
    assert with_code_of_now(spec) == (spec, [])
