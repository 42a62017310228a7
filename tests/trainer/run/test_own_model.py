"""Models of the user's own, from training to predictions: what they get, what is saved of them, what is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.model.frozen import frozen_digest
from losstune.trainer.run.checkpoint import load_checkpoint, save_checkpoint
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.trained_model import load_model
from tests.trainer import own_models
from tests.trainer.conftest import Line
from tests.trainer.own_models import HERE, image_pairs, token_pairs
from tests.trainer.samples import refusal, sample_arrays, sample_pairs, sample_trainer, timeless, train_to_end


def own_config(factory: str, **settings: Any) -> TrainConfig:
    run = {"model.factory": f"{HERE}:{factory}", "device": "cpu", "precision": "float32", "num_epochs": 3, "lr": 0.01}
    return TrainConfig.from_flat({**run, **settings})


MODELS: dict[str, tuple[TrainConfig, Callable[[], Pairs]]] = {
    "images": (own_config("Conv", **{"model.depth": 2, "model.width": 8}), image_pairs),
    "token ids": (own_config("bag", **{"model.words": 50, "model.dropout": 0.1}), token_pairs),
    "frozen features": (own_config("features", **{"model.width": 200}), sample_pairs),
    "bfloat16 images": (own_config("Conv", precision="bfloat16"), image_pairs),
    "bfloat16 token ids": (own_config("bag", precision="bfloat16", **{"model.words": 50}), token_pairs),
}


@pytest.fixture(params=MODELS)
def trainer(request: pytest.FixtureRequest) -> Trainer:
    config, pairs = MODELS[request.param]
    return sample_trainer(config, pairs())


def saved(trainer: Trainer, folder: Path) -> RunDirectory:
    run = RunDirectory(folder)
    run.start(trainer.config)
    run.save(trainer, [trainer.run_epoch()])
    return run


class TestTraining:
    def test_learns(self, trainer: Trainer) -> None:
        records = train_to_end(trainer)
        assert records[-1]["val/cosine_sim"] > records[0]["val/cosine_sim"] + 0.01
        assert trainer.predict(trainer.data.train.inputs).dtype == torch.float32

    def test_goes_on_to_the_same_bits(self, trainer: Trainer, tmp_path: Path) -> None:
        run = saved(trainer, tmp_path)
        again = Trainer(trainer.config, trainer.data)
        run.restore(again)
        assert timeless(train_to_end(again)) == timeless(train_to_end(trainer))
        assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), trainer.model.parameters(), strict=True))

    def test_predicts_from_its_file_as_in_training(self, trainer: Trainer, tmp_path: Path) -> None:
        saved(trainer, tmp_path)
        expected = trainer.predict(trainer.data.train.inputs)
        for name in ("best.pt", "last.pt"):
            assert torch.equal(load_model(tmp_path / name).embeddings(trainer.data.train.inputs), expected)

    @pytest.mark.parametrize("name", ["images", "token ids"])
    def test_data_on_disk_give_the_same_numbers(self, name: str, tmp_path: Path) -> None:
        config, pairs = MODELS[name][0], MODELS[name][1]()
        np.save(tmp_path / "inputs.npy", pairs.inputs)
        np.save(tmp_path / "targets.npy", pairs.targets)
        on_disk = sample_trainer(config, load_pairs(str(tmp_path)))
        assert timeless(train_to_end(on_disk)) == timeless(train_to_end(sample_trainer(config, pairs)))

    def test_weights_follow_from_the_seed(self) -> None:
        def first(seed: int) -> Tensor:
            config = own_config("features", seed=seed)
            return sample_trainer(config).predict(torch.ones(1, 6))

        assert torch.equal(first(1), first(1))
        assert not torch.equal(first(1), first(2))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
    def test_inputs_arrive_in_batches_as_they_were_loaded(self, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
        arrays = sample_arrays()
        arrays["inputs"] = (100 + 10 * arrays["inputs"].reshape(-1, 3, 2)).astype(dtype)
        taken: list[tuple[torch.dtype, tuple[int, ...]]] = []

        class Seeing(nn.Module):
            def __init__(self, input_shape: tuple[int, ...], output_dim: int) -> None:
                super().__init__()
                assert (input_shape, output_dim) == ((3, 2), 5)
                self.layer = nn.Linear(6, 5)

            def forward(self, inputs: Tensor) -> Tensor:
                taken.append((inputs.dtype, tuple(inputs.shape[1:])))
                return self.layer(inputs.flatten(1).float())

        monkeypatch.setattr(own_models, "Seeing", Seeing, raising=False)
        sample_trainer(own_config("Seeing"), make_pairs(arrays, "sample")).run_epoch()
        assert set(taken) == {(torch.from_numpy(arrays["inputs"]).dtype, (3, 2))}

    def test_a_model_of_half_precision_is_widened_for_the_loss(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def half(input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
            return nn.Sequential(Halved(), nn.Linear(6, output_dim, dtype=torch.bfloat16))

        class Halved(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return inputs.bfloat16()

        monkeypatch.setattr(own_models, "half", half, raising=False)
        trainer = sample_trainer(own_config("half"))
        records = train_to_end(trainer)
        assert records[-1]["train/loss"] < records[0]["train/loss"]
        assert next(trainer.model.parameters()).dtype == torch.bfloat16

    def test_parts_of_several_types_are_trained_together(self) -> None:
        trainer = sample_trainer(own_config("Mixed"))
        before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
        trainer.run_epoch()
        assert all(not torch.equal(before[name], tensor) for name, tensor in trainer.model.named_parameters())

    def test_a_last_batch_of_one_row_that_batch_norm_can_not_train_on_is_refused(self) -> None:
        """125 rows: 124 is 4 times 31."""
        trainer = sample_trainer(own_config("features", batch_size=31))
        assert refusal(trainer.run_epoch) == (
            "batch_size: found 31; of 125 training rows it leaves one for the last batch, where the model or the loss "
            "fails: Expected more than 1 value per channel when training, got input size torch.Size([1, 64]); "
            "--batch_size 32 leaves none alone"
        )
        train_to_end(sample_trainer(own_config("features", batch_size=32, num_epochs=1)))
        train_to_end(sample_trainer(own_config("Mixed", batch_size=31, num_epochs=1)))

    def test_layers_that_find_their_width_by_themselves(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def lazy(input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
            return nn.Sequential(nn.LazyLinear(4), nn.Linear(4, output_dim))

        monkeypatch.setattr(own_models, "lazy", lazy, raising=False)
        trainer = sample_trainer(own_config("lazy"))
        saved(trainer, tmp_path)
        inputs = trainer.data.train.inputs
        assert torch.equal(load_model(tmp_path / "best.pt").embeddings(inputs), trainer.predict(inputs))


class TestWhatWritesIntoItsInputs:
    """The data is on the device once, for all epochs and for all trials of a worker."""

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"precision": "bfloat16"},
            {"average_epochs": 1.0},
            {"loss_fn": "infonce", "batch_parts": 4},
            {"loss_fn": "infonce", "hard_negatives": 2, "hard_negatives_every": 1},
        ],
        ids=str,
    )
    def test_trains_as_what_takes_a_copy_and_leaves_the_data_to_the_next_trial(self, settings: dict[str, Any]) -> None:
        writing, copying = (
            sample_trainer(own_config("Writing", **settings, **{"model.in_place": flag})) for flag in (True, False)
        )
        expected = timeless(train_to_end(copying))
        assert timeless(train_to_end(writing)) == expected
        assert timeless(train_to_end(Trainer(writing.config, writing.data))) == expected

    def test_leaves_a_callers_array(self, tmp_path: Path) -> None:
        trainer = sample_trainer(own_config("Writing"))
        saved(trainer, tmp_path)
        given, untouched = (sample_arrays()["inputs"] for _ in range(2))
        found = load_model(tmp_path / "best.pt").predict(given)
        np.testing.assert_array_equal(given, untouched)
        np.testing.assert_array_equal(found, trainer.predict(torch.from_numpy(untouched)))


class TestFrozenParts:
    @pytest.fixture
    def frozen(self, tmp_path: Path) -> Trainer:
        trainer = sample_trainer(own_config("features", **{"model.width": 20_000}))
        saved(trainer, tmp_path)
        return trainer

    def test_stay_as_they_were_made(self, frozen: Trainer) -> None:
        before = frozen.model[0].weight.clone()
        frozen.run_epoch()
        assert torch.equal(frozen.model[0].weight, before)
        assert frozen.frozen == frozen_digest(frozen.model)

    def test_are_not_in_the_files(self, frozen: Trainer, tmp_path: Path) -> None:
        content = load_checkpoint(tmp_path / "best.pt")
        assert not any(name.startswith("0.") for name in [*content["model"], *frozen.best_state])
        assert {"2.weight", "2.running_mean", "2.num_batches_tracked", "3.bias"} <= set(content["model"])
        trained = 4 * sum(tensor.numel() for tensor in content["model"].values())
        assert (tmp_path / "best.pt").stat().st_size < trained + 20_000
        frozen_bytes = 4 * sum(p.numel() for p in frozen.model[0].parameters())
        assert frozen_bytes > 500_000
        assert (tmp_path / "last.pt").stat().st_size < 3 * trained + 20_000

    @pytest.mark.parametrize("change", ["SCALE", "seed"])
    def test_that_are_others_now_are_refused(
        self, frozen: Trainer, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message = (
            "model.factory tests.trainer.own_models:features: its frozen weights are not those that this checkpoint "
            "was trained with"
        )
        if change == "SCALE":
            monkeypatch.setattr(own_models, "SCALE", 2.0)
        else:
            for name in ("best.pt", "last.pt"):
                content = load_checkpoint(tmp_path / name)
                content["config"]["seed"] = 1
                save_checkpoint(tmp_path / name, content)
        best, last = tmp_path / "best.pt", tmp_path / "last.pt"
        assert refusal(load_model, best) == f"checkpoint {best}: {message}"
        config = frozen.config if change == "SCALE" else frozen.config.model_copy(update={"seed": 1})
        restored = refusal(RunDirectory(tmp_path).restore, Trainer(config, frozen.data))
        assert restored == f"checkpoint {last}: {message}"

    def test_the_built_in_encoders_file_has_all_its_weights_and_no_digest(self, tmp_path: Path) -> None:
        trainer = sample_trainer(TrainConfig.from_flat({"device": "cpu", "num_epochs": 1}))
        saved(trainer, tmp_path)
        content = load_checkpoint(tmp_path / "best.pt")
        assert list(content["model"]) == list(trainer.model.state_dict())
        assert "frozen" not in content


class TestRefusals:
    @pytest.mark.parametrize(
        ("factory", "message"),
        [
            ("nothing", "nothing to train: no parameter of its model requires gradients"),
            ("Detached", "its model: nothing to train: its output depends on no parameter that requires gradients"),
            ("failing", "failed with input_shape (6,) and output_dim 5: RuntimeError: no weights for 1 layers"),
            ("text", "returned str, not a torch.nn.Module"),
            (
                "wide",
                "its model maps float32 inputs (2, 6) to float32 (2, 6); expected floating-point numbers (2, 5)",
            ),
            ("Pair", "its model maps float32 inputs (2, 6) to tuple; expected floating-point numbers (2, 5)"),
            (
                "counting",
                "its model maps float32 inputs (2, 6) to int64 (2, 5); expected floating-point numbers (2, 5)",
            ),
            ("Conv", "its model failed on float32 inputs (2, 6): AssertionError: AssertionError"),
        ],
    )
    def test_a_model_that_does_not_fit_is_refused_before_training(self, factory: str, message: str) -> None:
        assert refusal(sample_trainer, own_config(factory)) == f"model.factory {HERE}:{factory}: {message}"

    def test_no_room_is_not_the_models_mistake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def hungry(input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
            raise torch.OutOfMemoryError("no room")

        monkeypatch.setattr(own_models, "hungry", hungry, raising=False)
        with pytest.raises(torch.OutOfMemoryError):
            sample_trainer(own_config("hungry"))

    def test_a_file_of_another_model_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saved(sample_trainer(own_config("Conv"), image_pairs()), tmp_path)
        monkeypatch.setattr(own_models, "Conv", lambda input_shape, output_dim, **_: nn.Linear(6, output_dim))
        content = load_checkpoint(tmp_path / "best.pt")
        content["config"] = {n: v for n, v in content["config"].items() if n in ("loss_fn", "model.factory", "device")}
        save_checkpoint(tmp_path / "best.pt", content)
        message = refusal(load_model, tmp_path / "best.pt")
        assert message.startswith(f"checkpoint {tmp_path / 'best.pt'}: not a model of a run: Error(s) in loading ")


MODULE = """
from torch import nn

def build(*, input_shape, output_dim, depth: int = 1, name=None):
    layers = [nn.Linear(input_shape[0], input_shape[0]) for _ in range(depth)]
    return nn.Sequential(*layers, nn.Linear(input_shape[0], output_dim))
"""


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def module(self, cli: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        """``users_model.py`` in the working directory, as a user has it."""
        Path("users_model.py").write_text(MODULE)
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
        monkeypatch.delitem(sys.modules, "users_model", raising=False)

    def run(self, train: Line, line: str = "") -> dict[str, Any]:
        done = train(f"--model.factory users_model:build --num_epochs 1 --overwrite --output_dir run {line}")
        assert done.code == 0, done.err
        found: dict[str, Any] = load_checkpoint(Path("run/best.pt"))["config"]
        return {name: value for name, value in found.items() if name.startswith("model.")}

    def test_has_the_options_of_the_signature(self, train: Line) -> None:
        expected = {"model.factory": "users_model:build", "model.depth": 3, "model.name": None}
        assert self.run(train, "--model.depth 3") == expected
        assert self.run(train, "--model.depth=3 --model.name 0.5") == expected | {"model.name": 0.5}
        assert self.run(train, "--model.name text") == expected | {"model.depth": 1, "model.name": "text"}

    def test_null_unsets_an_option_of_a_file(self, train: Line) -> None:
        Path("mine.yaml").write_text("model: {factory: 'users_model:build', name: text}\n")
        assert self.run(train, "--config mine.yaml")["model.name"] == "text"
        assert self.run(train, "--config mine.yaml --model.name null")["model.name"] is None

    def test_trains_on_from_a_config_resumes_and_predicts(self, train: Line, cli: Line) -> None:
        self.run(train, "--model.depth 3")
        assert "  factory: users_model:build\n  depth: 3\n  name: null\n" in Path("run/config.yaml").read_text()
        assert train("--config run/config.yaml --model.depth 2 --num_epochs 1 --output_dir other --test").code == 0
        assert load_checkpoint(Path("other/best.pt"))["config"]["model.depth"] == 2
        assert train("--resume --output_dir other --num_epochs 2").code == 0
        assert cli("predict --checkpoint other/best.pt --data pairs.npz --output p.npy").code == 0
        assert np.load("p.npy").shape == (200, 5)

    def test_help_shows_its_options_in_place_of_the_encoders(self, cli: Line) -> None:
        shown = cli("train --model.factory users_model:build --help").out
        assert "--model.name" in shown
        assert "--hidden-dim" not in shown
        assert "--model.factory" in cli("train --help").out

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "--model.factory os:system",
                "model.factory os:system: takes no input_shape and no output_dim; a factory ",
            ),
            ("--model.factory=users_model:other", "model.factory users_model:other: module 'users_model' has no "),
            ("--config own.yaml", "own.yaml: model.depth: found 'x'; should be a valid integer"),
        ],
    )
    def test_a_mistake_is_one_message(self, train: Line, line: str, message: str) -> None:
        Path("own.yaml").write_text("model: {factory: 'users_model:build', depth: x}\n")
        done = train(line)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {message}")

    def test_inputs_of_another_type_are_refused(self, train: Line, cli: Line) -> None:
        self.run(train)
        np.savez("whole.npz", inputs=np.ones((3, 6), dtype=np.int32))
        done = cli("predict --checkpoint run/best.pt --data whole.npz --output p.npy")
        message = "error: --data whole.npz: inputs are int64; the model was trained on float32\n"
        assert (done.code, done.err) == (2, message)
