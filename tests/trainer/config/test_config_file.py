"""A config as YAML: it survives, says where it came from, and what is no config is refused by file and line."""

from pathlib import Path

import pytest

from losstune.trainer.base.files import sealed
from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.config.config_file import config_yaml, read_config, read_run_settings
from losstune.trainer.config.loss_registry import loss_names
from losstune.trainer.config.train_config import TrainConfig
from tests.trainer.samples import ALLOWED_LOSSES, refusal, sample_config


class TestConfigFiles:
    @pytest.mark.parametrize("loss_fn", loss_names())
    def test_a_config_survives_in_yaml(self, tmp_path: Path, loss_fn: str) -> None:
        config = sample_config(loss_fn, lr=1e-5, clip_norm=None, data="1e5:12", schedule_epochs=9)
        path = tmp_path / "config.yaml"
        path.write_text(config_yaml(config))
        assert TrainConfig.from_flat(read_config(path).settings) == config

    def test_prefixes_may_be_a_list_and_are_written_as_text(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("matryoshka_dims: [32, 64]\nmatryoshka_weights: 0.5, 1\n")
        config = TrainConfig.from_flat(read_config(path).settings)
        for prefixes in ({}, {"matryoshka_dims": "64", "matryoshka_weights": "1e-3"}):
            config = config.model_copy(update=prefixes)
            path.write_text(config_yaml(config))
            assert TrainConfig.from_flat(read_config(path).settings).prefixes == config.prefixes

    def test_every_setting_is_written_out_with_the_encoder_as_a_group(self) -> None:
        config = sample_config("infonce")
        data = parse_yaml(config_yaml(config), "f").data
        assert next(iter(data)) == "loss_fn"
        assert list(data["model"]) == [name.removeprefix("model.") for name in config.flat() if "model." in name]

    def test_where_it_came_from_is_kept_apart_from_the_settings(self, tmp_path: Path) -> None:
        path = tmp_path / "best.yaml"
        source = {"study": "first", "git_commit": "12e4567", "best_epoch": 31}
        path.write_text(config_yaml(sample_config(), source))
        file = read_config(path)
        assert file.source == source
        assert "source" not in file.settings

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("lr: 1e-3\nlr: 1e-2", "{path}:2: the key 'lr' stands twice, first on line 1"),
            ("lr: '1e-3'", "{path}: lr: found '1e-3'; should be a valid number"),
            ("loss_fn: l2", "{path}: loss_fn: found 'l2'; allowed: " + ALLOWED_LOSSES),
            ("batch_size: 3", "{path}: batch_size: found 3; cosine needs at least 4 (16 or more is recommended)"),
            ("temperature: 0.1", "{path}: temperature belongs to full_softmax, infonce, infonce_cosine, not to cosine"),
            ("model:\n  depht: 1", "{path}: model.depht is not a setting; did you mean model.depth or "),
            ("model:\n  depth: [1, 2]", "{path}:2: model.depth: found a list; expected one value"),
            ("source: here", "{path}:1: source: found 'here'; expected a mapping"),
            ("", "{path}:1: expected a mapping of keys to values"),
        ],
    )
    def test_what_is_no_valid_config_is_refused_by_file(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        assert refusal(read_config, path).startswith(message.format(path=path))


class TestOfARun:
    def test_its_settings_are_read_without_the_class_of_its_loss(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(sealed("loss_fn: gone.module:Loss\nweight: 2.0\nmodel:\n  depth: 0\n"))
        assert read_run_settings(path) == {"loss_fn": "gone.module:Loss", "weight": 2.0, "model.depth": 0}
        assert refusal(read_config, path).startswith(f"{path}: loss_fn gone.module:Loss: ")

    def test_one_that_was_edited_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(sealed(config_yaml(sample_config())).replace("lr: 0.001", "lr: 0.002"))
        message = f"{path}: damaged or edited, it does not match the SHA-256 in its last line"
        assert refusal(read_run_settings, path) == message
