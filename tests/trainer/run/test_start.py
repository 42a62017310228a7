"""Where a run begins. What the command line says of it is in tests/trainer/cli/test_app.py."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.config_file import ConfigFile
from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.checkpoint import save_checkpoint
from losstune.trainer.run.start import RunRequest, final_settings, fresh_folder, resumed_run, rules_of

CONFIG = TrainConfig.from_flat({"loss_fn": "mse"})


def request(settings: dict[str, Any] | None = None, source: dict[str, Any] | None = None, **more: Any) -> RunRequest:
    return RunRequest(ConfigFile({"fit": "train", "num_epochs": 81}, source or {}), settings or {}, **more)


def test_settings_override_the_file() -> None:
    assert final_settings(request({"num_epochs": 5}), Console(quiet=True)) == {"fit": "train", "num_epochs": 5}


@pytest.mark.parametrize(
    ("settings", "source", "epochs"),
    [
        ({"fit": "train+val"}, {"best_epoch": 7}, (7, 81)),
        ({"fit": "train+val", "schedule_epochs": 40}, {"best_epoch": 7}, (7, 40)),
        ({"fit": "train+val", "num_epochs": 5}, {"best_epoch": 7}, (5, None)),
        ({"fit": "train+val"}, {}, (81, None)),
        ({}, {"best_epoch": 7}, (81, None)),
    ],
)
def test_with_nothing_to_validate_on_a_study_knows_how_long(
    settings: dict[str, Any], source: dict[str, Any], epochs: tuple[int, int | None]
) -> None:
    said = io.StringIO()
    found = final_settings(request(settings, source), Console(file=said))
    assert (found["num_epochs"], found.get("schedule_epochs")) == epochs
    assert ("Training 7 epochs" in said.getvalue()) == (epochs[0] == 7)


def test_a_folder_of_its_own_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fresh_folder(request(), CONFIG).path == Path("runs/mse")
    Path("runs/mse").mkdir(parents=True)
    assert fresh_folder(request(), CONFIG).path == Path("runs/mse-2")


def test_a_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").touch()
    with pytest.raises(UserError, match="holds a run; --resume continues it, --overwrite discards it"):
        fresh_folder(request(output_dir=tmp_path / "run"), CONFIG)
    assert fresh_folder(request(output_dir=tmp_path / "run", overwrite=True), CONFIG).path == tmp_path / "run"


def test_there_must_be_something_to_resume() -> None:
    with pytest.raises(UserError, match=r"--resume needs --checkpoint RUN/last.pt, or the run's --output-dir"):
        resumed_run(request(), Console(quiet=True))


@pytest.mark.parametrize(
    ("settings", "file", "epochs"),
    [
        ({"fit": "train+val"}, {}, 7),
        ({"fit": "train+val", "num_epochs": 9}, {}, 9),
        ({}, {"fit": "train+val"}, 7),
        ({}, {"fit": None}, 7),  # not named: as the run has it
    ],
)
def test_a_final_run_that_goes_on_ends_where_it_would_have(
    tmp_path: Path, settings: dict[str, Any], file: dict[str, Any], epochs: int
) -> None:
    before = TrainConfig.from_flat({"loss_fn": "mse", "fit": "train+val", "num_epochs": 7, "schedule_epochs": 81})
    save_checkpoint(tmp_path / "last.pt", {"config": before.flat(), "state": {}})
    asked = request(settings, {"best_epoch": 7}, output_dir=tmp_path, resume=True)
    asked.file.settings.update(file)
    if asked.file.settings["fit"] is None:
        del asked.file.settings["fit"]
    said = io.StringIO()
    config, _ = resumed_run(asked, Console(file=said))
    assert (config.num_epochs, config.schedule_epochs) == (epochs, 81)
    assert ("Training 7 epochs" in said.getvalue()) == (epochs == 7)


def test_a_run_that_validates_goes_on_for_the_epochs_of_its_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"config": CONFIG.flat() | {"num_epochs": 7}, "state": {}})
    asked = request({}, {"best_epoch": 7}, output_dir=tmp_path, resume=True)
    assert resumed_run(asked, Console(quiet=True))[0].num_epochs == 81


def test_a_schedules_end_that_is_moved_is_told(tmp_path: Path) -> None:
    before = CONFIG.flat() | {"schedule": "cosine", "num_epochs": 7}
    save_checkpoint(tmp_path / "last.pt", {"config": before, "state": {}})
    asked = RunRequest(ConfigFile({}, {}), {"num_epochs": 9, "schedule_epochs": 9}, output_dir=tmp_path, resume=True)
    said = io.StringIO()
    assert resumed_run(asked, Console(file=said, width=200))[0].horizon == 9
    assert said.getvalue() == "Note: the cosine schedule ends with epoch 9 now, no longer with 7\n"


OLD_FILE = {"loss_fn": "mse", "split_seed": 0, "eval_batch": 4096, "precision": "auto"}
"""What a run or a study has written names every setting; of these, an earlier release wrote all."""


@pytest.mark.parametrize(
    ("file", "options", "more", "rules"),
    [
        ({}, {}, {}, DataRules(None, "any")),
        ({"loss_fn": "mse", "split_seed": 3}, {}, {}, DataRules(None, "any")),
        ({}, {"split_by": "inputs"}, {}, DataRules("inputs", "any")),
        (OLD_FILE, {}, {}, DataRules("ids", "own")),
        (OLD_FILE, {"split_by": "inputs"}, {}, DataRules("inputs", "own")),
        ({**OLD_FILE, "split_by": "groups", "answers": "any"}, {}, {}, DataRules("groups", "any")),
        ({}, {}, {"resume": True}, DataRules("ids", "own")),
    ],
)
def test_settings_of_before_keep_their_rules_and_new_ones_get_the_new(
    file: dict[str, Any], options: dict[str, Any], more: dict[str, Any], rules: DataRules
) -> None:
    asked = RunRequest(ConfigFile(file, {}), options, **more)
    assert rules_of(asked, TrainConfig.from_flat({**file, **options})) == rules


def test_an_exported_file_of_before_keeps_its_rules() -> None:
    asked = RunRequest(ConfigFile({"loss_fn": "mse"}, {"study": "first"}), {})
    assert rules_of(asked, CONFIG) == DataRules("ids", "own")
