"""A study on disk: created, opened, continued under the same terms, and held by one launch at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import sealed
from losstune.trainer.base.yaml_file import read_yaml
from losstune.tuning.space.search_space import SearchSpace, merged_settings
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.lock import is_locked, locked
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.study import Study, create_study, open_study
from tests.trainer.samples import refusal
from tests.tuning.samples import CONDITIONAL, facts, new_trials, settings_of, space_of, used_up

DIGEST = "a1" * 32
PLAIN = """
    loss_fn: mse
    start: [{lr: 1e-3}]
    space: {lr: {low: 1e-4, high: 1e-2, log: true}}
    fixed: {model.depth: 1}
    study: {max_epochs: 27, epochs_per_loss: 270}
"""


def created(root: Path, *texts: str, name: str = "first", **options: Any) -> Study:
    spaces = [space_of(text) for text in texts or (PLAIN,)]
    return create_study(Home(root), name, spaces, merged_settings(spaces, options), "digits", DIGEST)


def continued_with(study: Study, *texts: str, digest: str = DIGEST, **options: Any) -> Study:
    return continued(study, [space_of(text) for text in texts], options, digest)


def test_a_study_reads_back_as_it_was_created(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL, seed=2**63 - 1)
    again = open_study(Home(tmp_path), "first")
    assert again == study
    assert again.spec.settings == StudySettings(max_epochs=27, epochs_per_loss=270, seed=2**63 - 1)
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


def test_a_fault_in_a_frozen_space_is_found_in_the_study_file(tmp_path: Path) -> None:
    study = created(tmp_path)
    spec = study.spec.model_copy(update={"spaces": {"mse": {"loss_fn": "mse", "spaces": {}}}})
    assert refusal(spec.search_spaces).startswith("first/study.yaml (mse):2: spaces: unknown section")


def test_trials_are_in_the_study_s_own_storage(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    trials = new_trials(space_of(PLAIN), study.storage())
    trials.end(trials.add({"lr": 0.001}, seed=0), used_up())
    found = open_study(Home(tmp_path), "first").trials()
    assert [facts(trial) for trial in found["mse"]] == [facts(trials[0])]
    assert found["infonce"] == []
    assert (study.folder / "optuna.db").exists()


@pytest.mark.parametrize("name", ["a", "7", "first-study_2.1", "A" * 64])
def test_names_that_can_be_a_folder_s(name: str, tmp_path: Path) -> None:
    assert Home(tmp_path).folder(name) == tmp_path / "studies" / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "../../x",
        "/etc",
        "a/b",
        "a\\b",
        ".hidden",
        "-x",
        "_x",
        "a b",
        "a\n",
        "ä",
        "a\0",
        "a" * 65,
    ],
)
def test_names_that_can_not(name: str, tmp_path: Path) -> None:
    for call in (Home.folder, open_study, is_locked):
        assert refusal(call, Home(tmp_path), name) == (
            f"study name {name!r}: a name is 1 to 64 letters, digits, '.', '_' and '-', "
            "and starts with a letter or digit"
        )


def test_a_name_outside_the_root_creates_nothing(tmp_path: Path) -> None:
    (root := tmp_path / "root").mkdir()
    with pytest.raises(UserError):
        created(root, name="../../x")
    with pytest.raises(UserError), locked(Home(root), "../../x"):
        pass
    assert list(tmp_path.iterdir()) == [root]
    assert list(root.iterdir()) == []


def test_an_unknown_study_says_which_there_are(tmp_path: Path) -> None:
    assert refusal(open_study, Home(tmp_path), "third") == f"no study 'third' in {tmp_path / 'studies'}; found: none"
    created(tmp_path, name="second")
    created(tmp_path, name="first")
    message = refusal(open_study, Home(tmp_path), "third")
    assert message == f"no study 'third' in {tmp_path / 'studies'}; found: first, second"


def test_the_list_has_only_folders_with_a_spec(tmp_path: Path) -> None:
    assert Home(tmp_path).names() == []
    created(tmp_path, name="second")
    created(tmp_path, name="first")
    (tmp_path / "studies" / "empty").mkdir()
    assert Home(tmp_path).names() == ["first", "second"]


def test_a_deleted_study_is_gone(tmp_path: Path) -> None:
    created(tmp_path)
    created(tmp_path, name="second")
    open_study(Home(tmp_path), "first").delete()
    assert Home(tmp_path).names() == ["second"]
    assert not (tmp_path / "studies" / "first").exists()


def test_a_spec_with_a_fault_names_the_file_and_the_key(tmp_path: Path) -> None:
    path = created(tmp_path).folder / "study.yaml"
    text, _, _ = path.read_text().rpartition("# sha256")
    path.write_text(sealed(text.replace("max_epochs: 27", "max_epochs: 0")))
    message = refusal(open_study, Home(tmp_path), "first")
    assert message.startswith(f"{path}: settings.max_epochs: found 0; should be greater than or equal to 1")


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    assert continued_with(study) == study
    assert continued_with(study, PLAIN, CONDITIONAL) == study
    assert continued_with(study, CONDITIONAL, PLAIN) == study
    assert continued_with(study, max_epochs=27, sampler="tpe", epochs_per_loss=270) == study


def test_settings_that_are_not_given_stay_as_they_were(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, seed=7, max_epochs=9, trials=5)
    assert continued_with(study, PLAIN).spec.settings == settings_of(seed=7, max_epochs=9, trials=5)
    assert continued_with(study, PLAIN, seed=7).spec.settings == settings_of(seed=7, max_epochs=9, trials=5)


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ("low: 1e-4", "low: 1e-5", "spaces.mse.space.lr.low: 0.0001 in the study, 1e-05 now"),
        (", log: true", "", "spaces.mse.space.lr.log: in the study, absent now"),
        ("fixed: {model.depth: 1}", "fixed: {model.depth: 2}", "spaces.mse.fixed.model.depth: 1 in the study, 2 now"),
        (
            "fixed: {",
            "fixed: {weight_decay: 0.1, ",
            "spaces.mse.fixed.weight_decay: absent in the study, present now",
        ),
        ("[{lr: 1e-3}]", "[{lr: 2e-3}]", "spaces.mse.start: [{'lr': 0.001}] in the study, [{'lr': 0.002}] now"),
        ("max_epochs: 27", "max_epochs: 81", "spaces.mse.study.max_epochs: 27 in the study, 81 now"),
    ],
)
def test_a_changed_space_is_refused_with_the_change(before: str, now: str, difference: str, tmp_path: Path) -> None:
    study = created(tmp_path)
    assert before in PLAIN
    assert refusal(continued_with, study, PLAIN.replace(before, now)) == (
        f"study 'first' exists with other content; use another --study name, or undo the change:\n{difference}"
    )


def test_another_set_of_losses_is_refused(tmp_path: Path) -> None:
    study = created(tmp_path)
    assert refusal(continued_with, study, PLAIN, CONDITIONAL).endswith(
        "\nspaces.infonce: absent in the study, present now"
    )
    study = created(tmp_path, PLAIN, CONDITIONAL, name="second")
    assert refusal(continued_with, study, PLAIN).endswith("\nspaces.infonce: in the study, absent now")


def test_other_data_is_refused(tmp_path: Path) -> None:
    message = refusal(continued_with, created(tmp_path), digest="b2" * 32)
    assert message.endswith("\ndata: SHA-256 a1a1a1a1a1a1 in the study, b2b2b2b2b2b2 now")


@pytest.mark.parametrize(
    ("option", "value", "difference"),
    [
        ("seed", 1, "seed: 0 in the study, 1 now"),
        ("max_epochs", 81, "max_epochs: 27 in the study, 81 now"),
        ("grace_epochs", 1, "grace_epochs: 3 in the study, 1 now"),
        ("reduction_factor", 2, "reduction_factor: 3 in the study, 2 now"),
        ("sampler", "random", "sampler: tpe in the study, random now"),
        ("objective", "val/cosine_sim", "objective: val/mrr in the study, val/cosine_sim now"),
    ],
)
def test_another_setting_is_refused(option: str, value: object, difference: str, tmp_path: Path) -> None:
    message = refusal(continued_with, created(tmp_path), PLAIN, **{option: value})
    assert message.splitlines()[1:] == [difference]


def test_all_differences_are_listed(tmp_path: Path) -> None:
    changed = PLAIN.replace("low: 1e-4", "low: 1e-5").replace("high: 1e-2", "high: 1e-1")
    message = refusal(continued_with, created(tmp_path), changed, digest="b2" * 32, seed=1)
    assert message.splitlines()[1:] == [
        "data: SHA-256 a1a1a1a1a1a1 in the study, b2b2b2b2b2b2 now",
        "spaces.mse.space.lr.low: 0.0001 in the study, 1e-05 now",
        "spaces.mse.space.lr.high: 0.01 in the study, 0.1 now",
        "seed: 0 in the study, 1 now",
    ]


@pytest.mark.parametrize(
    ("options", "text", "budget"),
    [
        ({"epochs_per_loss": 600}, PLAIN, "600 epochs"),
        ({"trials": 12}, PLAIN, "12 trials"),
        ({"trials": 12}, PLAIN.replace("270", "600"), "12 trials"),
        ({}, PLAIN.replace("270", "600"), "600 epochs"),
        ({}, PLAIN.replace("epochs_per_loss: 270", "trials: 30"), "30 trials"),
        ({}, PLAIN.replace(", epochs_per_loss: 270", ""), "270 epochs"),
    ],
)
def test_a_new_budget_is_accepted_and_saved(options: dict[str, Any], text: str, budget: str, tmp_path: Path) -> None:
    study = continued_with(created(tmp_path), text, **options)
    assert str(study.spec.settings.budget) == budget
    study.save()
    again = open_study(Home(tmp_path), "first")
    assert again == study
    assert continued_with(again, text, **options) == study


def test_a_new_budget_holds_without_being_given_again(tmp_path: Path) -> None:
    study = continued_with(created(tmp_path), trials=12)
    assert str(continued_with(study).spec.settings.budget) == "12 trials"
    assert str(continued_with(study, PLAIN).spec.settings.budget) == "12 trials"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epochs_per_loss": 26},
            "study: epochs_per_loss 26 is less than max_epochs 27: not one trial could use its epochs",
        ),
        ({"epochs_per_loss": 600, "trials": 12}, "study: epochs_per_loss and trials are two budgets: give one"),
        ({"trials": 0}, "study: trials: found 0; should be greater than or equal to 1"),
    ],
)
def test_a_new_budget_that_can_not_be_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert refusal(continued_with, created(tmp_path), **options) == message


def test_continuing_does_not_touch_the_file(tmp_path: Path) -> None:
    study = created(tmp_path)
    before = (study.folder / "study.yaml").read_bytes()
    continued_with(study, trials=12)
    assert (study.folder / "study.yaml").read_bytes() == before
    assert read_yaml(study.folder / "study.yaml").data["settings"]["epochs_per_loss"] == 270


HOLD = """
import sys
from pathlib import Path
from losstune.tuning.storage.home import Home
from losstune.tuning.storage.lock import locked
with locked(Home(Path(sys.argv[1])), "first"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study until it is killed or its input ends."""
    command = [sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def hold(root: Path) -> None:
    with locked(Home(root), "first"):
        pass


def test_a_second_launch_is_refused_and_a_dead_one_s_lock_is_taken_over(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        message = refusal(hold, tmp_path)
        assert message.startswith(f"study 'first' is in use by process {process.pid} on ")
        assert ", since 2" in message
        assert is_locked(Home(tmp_path), "first")
        process.kill()
        process.wait()
    assert not is_locked(Home(tmp_path), "first")
    with locked(Home(tmp_path), "first"):
        assert f"in use by process {os.getpid()} on " in refusal(hold, tmp_path)
    hold(tmp_path)


def test_an_exception_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(Home(tmp_path), "first"):
        raise KeyError
    assert not is_locked(Home(tmp_path), "first")
    hold(tmp_path)


def test_a_lock_file_with_a_fault_still_locks(tmp_path: Path) -> None:
    with locked(Home(tmp_path), "first"):
        (tmp_path / "studies" / "first" / ".lock").write_text("{")
        assert refusal(hold, tmp_path) == "study 'first' is in use by another process"


def test_two_studies_do_not_lock_each_other(tmp_path: Path) -> None:
    with locked(Home(tmp_path), "first"), locked(Home(tmp_path), "second"):
        assert is_locked(Home(tmp_path), "first")
    assert not is_locked(Home(tmp_path), "third")


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("")
    folder = tmp_path / "studies" / "first"
    assert refusal(hold, tmp_path) == f"{folder}: can not be written: Not a directory"


def test_spaces_are_kept_as_they_were_written(tmp_path: Path) -> None:
    spaces: dict[str, SearchSpace] = created(tmp_path, PLAIN).spec.search_spaces()
    assert spaces["mse"].source == space_of(PLAIN).source
