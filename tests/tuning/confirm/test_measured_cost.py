"""What models cost: parameters against formulas and trained models, files against the disk, speeds that are used."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.model.encoder import build_model
from losstune.trainer.run.checkpoint import save_checkpoint
from losstune.trainer.run.trained_model import TrainedModel
from losstune.tuning.confirm.cost import BATCH
from losstune.tuning.confirm.measured_cost import LEAST_CALLS, measured_cost, parameter_count


def model_of(**settings: Any) -> Any:
    return TrainConfig.from_flat({"loss_fn": "mse", **settings}).model


def by_formula(width: int, hidden: int, depth: int, dims: int, layer_norm: bool) -> int:
    """Weights and biases of each layer, and scale and shift of each normalisation."""
    widths = [width] + [hidden] * depth
    hidden_layers = sum(a * b + b + 2 * b * layer_norm for a, b in itertools.pairwise(widths))
    return hidden_layers + widths[-1] * dims + dims


@pytest.mark.parametrize(
    ("hidden", "depth", "layer_norm"), [(256, 2, True), (7, 1, False), (16, 0, True), (8, 3, True)]
)
@pytest.mark.parametrize(("shape", "dims"), [((32,), 32), ((4, 3, 2), 5)])
def test_the_encoders_parameters_are_those_of_a_formula(
    hidden: int, depth: int, layer_norm: bool, shape: tuple[int, ...], dims: int
) -> None:
    settings = {"model.hidden_dim": hidden, "model.depth": depth, "model.layer_norm": layer_norm}
    expected = by_formula(int(torch.tensor(shape).prod()), hidden, depth, dims, layer_norm)
    assert parameter_count(model_of(**settings), shape, dims) == expected


def test_the_largest_encoder_takes_no_memory() -> None:
    assert parameter_count(model_of(**{"model.hidden_dim": 65_536, "model.depth": 64}), (1000,), 1000) > 2.7e11


def two_layers(input_shape: tuple[int, ...], output_dim: int, width: int = 3) -> nn.Module:
    model = nn.Sequential(nn.Linear(input_shape[0], width), nn.Linear(width, output_dim))
    model[0].weight.requires_grad_(requires_grad=False)
    return model


def broken(input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    raise RuntimeError("no such weights")


def test_a_users_model_is_asked_of_its_factory_frozen_parts_count_and_no_random_number_is_used_up() -> None:
    before = torch.get_rng_state()
    own = model_of(**{"model.factory": f"{__name__}:two_layers", "model.width": 4})
    assert parameter_count(own, (10,), 5) == 10 * 4 + 4 + 4 * 5 + 5
    assert torch.equal(torch.get_rng_state(), before)


def test_a_factory_that_fails_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match=r"broken: failed .* RuntimeError: no such weights"):
        parameter_count(model_of(**{"model.factory": f"{__name__}:broken"}), (10,), 5)


def checkpoint(path: Path, shape: tuple[int, ...] = (6,), dims: int = 5) -> Path:
    config = TrainConfig.from_flat({"loss_fn": "mse", "model.hidden_dim": 8, "eval_batch": 100})
    content = {
        "config": config.flat(),
        "model": build_model(config.model, shape, dims).state_dict(),
        "input_shape": list(shape),
        "input_dtype": "float32",
        "output_dim": dims,
    }
    save_checkpoint(path, content)
    return path


def test_a_trained_model_is_measured_on_one_core_with_one_row_and_with_256(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint(tmp_path / "best.pt")
    seen: list[tuple[int, int]] = []
    embeddings = TrainedModel.embeddings

    def watched(self: TrainedModel, inputs: Tensor) -> Tensor:
        seen.append((len(inputs), torch.get_num_threads()))
        return embeddings(self, inputs)

    monkeypatch.setattr(TrainedModel, "embeddings", watched)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        cost = measured_cost(path, torch.zeros(30, 6))  # fewer rows than are embedded at once
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert cost.parameters == by_formula(6, 8, 2, 5, layer_norm=True)
    assert (cost.file_bytes, cost.dims) == (path.stat().st_size, 5)
    assert min(cost.single, cost.batched) > 0
    assert {rows for rows, _ in seen} == {1, BATCH}
    assert {used for _, used in seen} == {1}
    assert min(sum(rows == size for rows, _ in seen) for size in (1, BATCH)) > LEAST_CALLS
