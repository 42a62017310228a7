"""A run on disk: its files, its config as YAML, and that it continues to the same bits."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.history import read_history
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory
from tests.trainer.samples import refusal, sample_config, sample_trainer, timeless


class PricedConfig(LossConfig):
    """A loss with a weight of its own to learn."""

    name: ClassVar[str] = "priced"

    def build(self, train: TrainTargets) -> LossModule:
        return PricedLoss()


class PricedLoss(LossModule):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput((predictions - targets).square().mean() / self.log_scale.exp() + self.log_scale, {})


PRICED = f"{__name__}:PricedConfig"


def run_epochs(folder: RunDirectory, trainer: Trainer, epochs: int, *, save_each: bool = False) -> None:
    records = []
    for _ in range(epochs):
        records.append(trainer.run_epoch())
        if save_each:
            folder.save(trainer, records)
            records = []
    if records:
        folder.save(trainer, records)


def started(path: Path, config: TrainConfig) -> tuple[RunDirectory, Trainer]:
    folder = RunDirectory(path)
    folder.start(config)
    return folder, sample_trainer(config)


def restored(path: Path, config: TrainConfig) -> tuple[RunDirectory, Trainer]:
    folder, trainer = RunDirectory(path), sample_trainer(config)
    folder.restore(trainer)
    return folder, trainer


def same(one: object, other: object) -> bool:
    """Equal to the last bit, whatever tensors lie inside."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


class TestContinuing:
    SETTINGS: ClassVar[dict[str, Any]] = {
        "model.dropout": 0.3,
        "schedule": "cosine",
        "schedule_epochs": 10,
        "warmup_epochs": 2,
        "lr": 0.01,
    }

    def both_ways(self, tmp_path: Path, loss_fn: str, **own: Any) -> None:
        """Ten epochs at a stretch, and four, a fresh start from disk, and six more."""
        whole = sample_config(loss_fn, **{**self.SETTINGS, **own, "num_epochs": 10})
        folder, trainer = started(tmp_path / "straight", whole)
        run_epochs(folder, trainer, 10)
        folder, trainer = started(
            tmp_path / "parts", sample_config(loss_fn, **{**self.SETTINGS, **own, "num_epochs": 4})
        )
        run_epochs(folder, trainer, 4)
        folder, trainer = restored(tmp_path / "parts", whole)
        assert trainer.epoch == 4
        run_epochs(folder, trainer, 6)

    @pytest.mark.parametrize("loss_fn", ["cosine", "infonce", "siglip", "full_softmax", PRICED])
    def test_a_run_in_two_parts_ends_in_the_same_bits_as_one_at_a_stretch(self, tmp_path: Path, loss_fn: str) -> None:
        self.both_ways(tmp_path, loss_fn)
        for name in ("last.pt", "best.pt"):
            assert same(load_checkpoint(tmp_path / "straight" / name), load_checkpoint(tmp_path / "parts" / name))
        straight, parts = (read_history(tmp_path / part / "history.jsonl") for part in ("straight", "parts"))
        assert timeless(straight) == timeless(parts)

    def test_with_a_learnt_temperature_too(self, tmp_path: Path) -> None:
        self.both_ways(tmp_path, "infonce", learn_temperature=True)
        one, other = (load_checkpoint(tmp_path / part / "last.pt") for part in ("straight", "parts"))
        assert same(one, other)
        assert float(one["state"]["loss"]["temperature.log_scale"]) != pytest.approx(-math.log(0.07))

    def test_parameters_of_the_loss_are_restored(self, tmp_path: Path) -> None:
        self.both_ways(tmp_path, PRICED)
        state = load_checkpoint(tmp_path / "parts" / "last.pt")["state"]
        _, trainer = restored(tmp_path / "parts", sample_config(PRICED, **self.SETTINGS))
        assert same(dict(trainer.loss.state_dict()), dict(state["loss"]))
        assert float(state["loss"]["log_scale"]) != 0.5

    def test_epochs_after_the_last_state_are_dropped_and_trained_again(self, tmp_path: Path) -> None:
        config = sample_config(num_epochs=6)
        folder, trainer = started(tmp_path, config)
        run_epochs(folder, trainer, 2)
        state = (tmp_path / "last.pt").read_bytes()
        run_epochs(folder, trainer, 2)
        expected = read_history(tmp_path / "history.jsonl")
        (tmp_path / "last.pt").write_bytes(state)
        folder, trainer = restored(tmp_path, config)
        assert trainer.epoch == len(read_history(tmp_path / "history.jsonl")) == 2
        run_epochs(folder, trainer, 2)
        assert timeless(read_history(tmp_path / "history.jsonl")) == timeless(expected)

    def test_a_line_that_was_cut_short_is_left_out(self, tmp_path: Path) -> None:
        config = sample_config(num_epochs=6)
        folder, trainer = started(tmp_path, config)
        run_epochs(folder, trainer, 2)
        with (tmp_path / "history.jsonl").open("a") as stream:
            stream.write('{"epoch": 3, "train/lo')
        _, trainer = restored(tmp_path, config)
        assert [record["epoch"] for record in read_history(tmp_path / "history.jsonl")] == [1, 2]

    def test_a_history_that_ends_before_the_state_is_refused(self, tmp_path: Path) -> None:
        config = sample_config(num_epochs=6)
        folder, trainer = started(tmp_path, config)
        run_epochs(folder, trainer, 3)
        path = tmp_path / "history.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
        message = f"{path}: holds 2 epochs, last.pt 3; the history is damaged"
        assert refusal(RunDirectory(tmp_path).restore, sample_trainer(config)) == message

    def test_a_damaged_state_is_refused(self, tmp_path: Path) -> None:
        config = sample_config()
        folder, trainer = started(tmp_path, config)
        run_epochs(folder, trainer, 1)
        path = tmp_path / "last.pt"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        message = f"checkpoint {path}: damaged, its content does not match its SHA-256"
        assert refusal(RunDirectory(tmp_path).restore, sample_trainer(config)) == message


class TestFiles:
    def test_a_run_has_four(self, tmp_path: Path) -> None:
        folder, trainer = started(tmp_path / "new" / "run", sample_config())
        assert not folder.holds_run
        run_epochs(folder, trainer, 2)
        assert folder.holds_run
        names = sorted(path.name for path in folder.path.iterdir())
        assert names == ["best.pt", "config.yaml", "history.jsonl", "last.pt"]

    def test_the_history_has_one_line_per_epoch_in_json(self, tmp_path: Path) -> None:
        folder, trainer = started(tmp_path, sample_config(num_epochs=3))
        run_epochs(folder, trainer, 3, save_each=True)
        lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [1, 2, 3]
        assert list(lines[0])[:4] == ["epoch", "time", "seconds", "lr"]
        assert read_history(tmp_path / "history.jsonl") == [
            {name: value for name, value in line.items() if name != "crc"} for line in lines
        ]

    def test_the_best_model_is_that_of_its_epoch_however_often_is_saved(self, tmp_path: Path) -> None:
        settings = {"num_epochs": 12, "warmup_epochs": 12, "lr": 3.0, "batch_size": 8}
        for name, save_each in (("each", True), ("once", False)):
            folder, trainer = started(tmp_path / name, sample_config("mse", **settings))
            run_epochs(folder, trainer, 12, save_each=save_each)
        each, once = (load_checkpoint(tmp_path / name / "best.pt") for name in ("each", "once"))
        assert each["epoch"] < 12
        assert same(each, once)

    def test_the_best_model_is_written_only_when_there_is_a_new_one(self, tmp_path: Path) -> None:
        folder, trainer = started(tmp_path, sample_config(lr=1e-30, weight_decay=0.0))
        run_epochs(folder, trainer, 1)
        best, last = ((tmp_path / name).stat().st_ino for name in ("best.pt", "last.pt"))
        run_epochs(folder, trainer, 1)
        assert (tmp_path / "best.pt").stat().st_ino == best
        assert (tmp_path / "last.pt").stat().st_ino != last

    def test_checkpoints_say_what_they_were_trained_on(self, tmp_path: Path) -> None:
        config = sample_config("infonce")
        folder, trainer = started(tmp_path, config)
        run_epochs(folder, trainer, 1)
        for name in ("best.pt", "last.pt"):
            content = load_checkpoint(tmp_path / name)
            assert TrainConfig.from_flat(content["config"]) == config
            assert content["data_digest"] == trainer.data.digest
            assert (content["input_shape"], content["output_dim"]) == ([6], 5)

    def test_a_new_start_clears_a_former_run(self, tmp_path: Path) -> None:
        folder, trainer = started(tmp_path, sample_config())
        run_epochs(folder, trainer, 1)
        folder.start(sample_config("mse"))
        assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
        assert read_config(tmp_path / "config.yaml").settings["loss_fn"] == "mse"

    def test_a_folder_that_can_not_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "run"
        assert refusal(RunDirectory(path).start, sample_config()) == f"{path}: can not be written: Not a directory"


class TestDamage:
    """Three epochs saved one by one; then a file is damaged, and the run is opened again."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder, trainer = started(tmp_path, sample_config(num_epochs=6))
        run_epochs(folder, trainer, 3, save_each=True)
        return tmp_path

    def flip(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def test_a_damaged_state_gives_way_to_the_one_before_it(self, folder: Path) -> None:
        self.flip(folder / "last.pt")
        trainer = sample_trainer(sample_config(num_epochs=6))
        restored = RunDirectory(folder).restore(trainer)
        assert trainer.epoch == 2
        assert [record["epoch"] for record in restored.records] == [1, 2]
        assert restored.damage == [f"checkpoint {folder / 'last.pt'}: damaged, its content does not match its SHA-256"]

    def test_trained_on_from_there_it_is_as_if_nothing_had_happened(self, folder: Path, tmp_path: Path) -> None:
        config = sample_config(num_epochs=6)
        undisturbed, whole = started(tmp_path / "whole", config)
        run_epochs(undisturbed, whole, 6, save_each=True)
        self.flip(folder / "last.pt")
        again, trainer = RunDirectory(folder), sample_trainer(config)
        again.restore(trainer)
        run_epochs(again, trainer, 4, save_each=True)
        assert timeless(read_history(folder / "history.jsonl")) == timeless(
            read_history(tmp_path / "whole" / "history.jsonl")
        )
        assert load_checkpoint(folder / "best.pt")["epoch"] == whole.best_epoch

    def test_a_damaged_history_takes_the_states_after_it_along(self, folder: Path) -> None:
        lines = (folder / "history.jsonl").read_text().splitlines(keepends=True)
        (folder / "history.jsonl").write_text("".join([*lines[:2], lines[2].replace("val/mrr", "val/mrx")]))
        trainer = sample_trainer(sample_config(num_epochs=6))
        damage = RunDirectory(folder).restore(trainer).damage
        assert trainer.epoch == 2
        assert damage[0].startswith(f"{folder / 'history.jsonl'}:3: damaged, not as it was written: ")

    def test_without_a_whole_state_every_file_is_named(self, folder: Path) -> None:
        self.flip(folder / "last.pt")
        (folder / "previous.pt").write_bytes(b"")
        message = refusal(RunDirectory(folder).restore, sample_trainer(sample_config(num_epochs=6)))
        assert [line.split(":")[0] for line in message.splitlines()] == [
            f"checkpoint {folder / name}" for name in ("last.pt", "previous.pt")
        ]

    def test_a_state_is_no_use_without_its_best_model(self, folder: Path) -> None:
        self.flip(folder / "best.pt")
        message = refusal(RunDirectory(folder).restore, sample_trainer(sample_config(num_epochs=6)))
        assert message.splitlines()[0].startswith(f"checkpoint {folder / 'best.pt'}: damaged")

    def test_another_settings_state_is_none_of_this_run(self, folder: Path) -> None:
        """As of the trial that had this number in another storage: its weights fit."""
        trainer = sample_trainer(sample_config(num_epochs=6, lr=0.5))
        message = refusal(RunDirectory(folder).restore, trainer)
        assert message.splitlines() == [
            f"checkpoint {folder / name}: of a run with other settings: lr 0.001 in it, 0.5 here"
            for name in ("last.pt", "previous.pt")
        ]
        assert trainer.epoch == 0

    def test_nor_is_one_whose_best_model_is_another_settings(self, folder: Path, tmp_path: Path) -> None:
        other, trainer = started(tmp_path / "other", sample_config(num_epochs=6, seed=7))
        run_epochs(other, trainer, 3)
        (folder / "best.pt").write_bytes((tmp_path / "other" / "best.pt").read_bytes())
        message = refusal(RunDirectory(folder).restore, sample_trainer(sample_config(num_epochs=6)))
        assert (
            message.splitlines()
            == [f"checkpoint {folder / 'best.pt'}: of a run with other settings: seed 7 in it, 0 here"] * 2
        )
