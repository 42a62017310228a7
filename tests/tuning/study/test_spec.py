"""The file that says what a study is: checked whenever it is read."""

from pathlib import Path

from losstune.trainer.base.files import sealed
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study
from tests.trainer.samples import refusal
from tests.tuning.study.created import PLAIN, created


def test_a_fault_in_a_frozen_space_is_found_in_the_study_file(tmp_path: Path) -> None:
    study = created(tmp_path)
    spec = study.spec.model_copy(update={"spaces": {"mse": {"loss_fn": "mse", "spaces": {}}}})
    assert refusal(spec.search_spaces).startswith("first/study.yaml (mse):2: spaces: unknown section")


def test_losses_are_kept_by_the_names_of_their_spaces(tmp_path: Path) -> None:
    created(tmp_path, PLAIN, PLAIN + "    name: wide")
    spec = open_study(Home(tmp_path), "first").spec
    assert [(name, space.name, space.loss_fn) for name, space in spec.search_spaces().items()] == [
        ("mse", "mse", "mse"),
        ("wide", "wide", "mse"),
    ]
    assert spec.loss_fns == {"mse": "mse", "wide": "mse"}
    assert [spec.title(loss) for loss in spec.spaces] == ["mse", "wide (mse)"]


def test_a_space_under_another_name_than_its_own_is_a_fault(tmp_path: Path) -> None:
    path = created(tmp_path, PLAIN + "    name: wide").folder / "study.yaml"
    text, _, _ = path.read_text().rpartition("# sha256")
    path.write_text(sealed(text.replace("name: wide", "name: deep")))
    message = f"{path}: spaces → wide: name: found 'deep'; expected 'wide'"
    assert refusal(open_study, Home(tmp_path), "first") == message


def test_a_spec_with_a_fault_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = created(tmp_path).folder / "study.yaml"
    text, _, _ = path.read_text().rpartition("# sha256")
    path.write_text(sealed(text.replace("max_epochs: 27", "max_epochs: 0")))
    message = refusal(open_study, Home(tmp_path), "first")
    assert message.startswith(f"{path}: settings.max_epochs: found 0; should be greater than or equal to 1")
