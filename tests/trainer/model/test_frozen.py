"""Frozen parts: which they are, what tells them apart, and a checkpoint of others."""

from pathlib import Path

import pytest
import torch
from torch import nn

from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.model.frozen import check_frozen, frozen_digest, load_trained_state, trained_state
from tests.trainer.samples import refusal


def test_the_digest_sees_values_names_and_shapes() -> None:
    def digest(**layers: nn.Module) -> str | None:
        return frozen_digest(nn.ModuleDict(layers).requires_grad_(False))

    torch.manual_seed(0)
    layer = nn.Linear(2, 3)
    other = nn.Linear(2, 3)
    other.load_state_dict(layer.state_dict())
    assert digest(a=layer) == digest(a=other)
    with torch.no_grad():
        other.weight[0, 0] += 1e-6
    turned = nn.Linear(3, 2)
    turned.load_state_dict({"weight": layer.weight.reshape(2, 3), "bias": layer.bias[:2]})
    digests = [digest(a=layer), digest(b=layer), digest(a=other), digest(a=turned), digest(a=layer.bfloat16())]
    assert len(set(digests)) == 5
    assert frozen_digest(nn.Linear(2, 2)) is None


def test_weights_that_share_one_tensor_are_frozen_under_both_names() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    model["a"].requires_grad_(False)
    assert set(trained_state(model)) == {"b.bias"}
    load_trained_state(model, trained_state(model))


def test_buffers_are_trained_state_also_where_all_weights_are_frozen() -> None:
    model = nn.BatchNorm1d(2).requires_grad_(False)
    assert set(trained_state(model)) == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_state_of_another_shape_is_refused_by_torch() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_trained_state(nn.Linear(2, 2), trained_state(nn.Linear(2, 3)))


def test_a_checkpoint_is_compared_where_the_model_is_the_users_own() -> None:
    own, path = FactoryConfig(factory="mine:build"), Path("run/best.pt")
    check_frozen("ab", own, {"frozen": "ab"}, path)
    check_frozen(None, own, {}, path)
    check_frozen(None, ModelConfig(), {"frozen": "ab"}, path)
    message = (
        "checkpoint run/best.pt: model.factory mine:build: its frozen weights are not those "
        "that this checkpoint was trained with"
    )
    assert refusal(check_frozen, "ab", own, {"frozen": "cd"}, path) == message
    assert refusal(check_frozen, None, own, {"frozen": "cd"}, path) == message
