"""The encoder: its shape, its parts, and what standardising does."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from losstune.trainer.config.model_config import ModelConfig
from losstune.trainer.data.columns import moments_of
from losstune.trainer.model.encoder import Encoder

INPUTS = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 3 + 7


def encoder(input_shape: tuple[int, ...] = (6,), **settings: object) -> Encoder:
    torch.manual_seed(0)
    model = Encoder(ModelConfig.model_validate({"hidden_dim": 8, **settings}), input_shape, 4)
    return model.eval()


def standardized(inputs: Tensor) -> Tensor:
    return (inputs - inputs.mean(0)) / inputs.std(0, correction=0)


class TestShape:
    @pytest.mark.parametrize("depth", [0, 1, 3])
    @pytest.mark.parametrize("input_shape", [(6,), (2, 3), (1, 2, 3)])
    def test_any_input_shape_becomes_one_row_of_output_dimensions(
        self, depth: int, input_shape: tuple[int, ...]
    ) -> None:
        assert encoder(input_shape, depth=depth)(INPUTS.view(50, *input_shape)).shape == (50, 4)

    def test_only_the_first_axis_counts_rows(self) -> None:
        model = encoder((2, 3))
        assert torch.equal(model(INPUTS.view(50, 2, 3)), model(INPUTS))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
    def test_integer_inputs_are_taken(self, dtype: torch.dtype) -> None:
        model, inputs = encoder(), INPUTS.abs().to(dtype)
        model.fit_inputs(moments_of(inputs))
        assert torch.equal(model(inputs), model(inputs.float()))

    def test_depth_is_the_number_of_hidden_layers(self) -> None:
        for depth in (0, 1, 4):
            linears = [m for m in encoder(depth=depth).modules() if isinstance(m, nn.Linear)]
            assert len(linears) == depth + 1


class TestStandardizing:
    def test_depth_0_is_a_linear_map_of_standardized_inputs(self) -> None:
        model = encoder(depth=0)
        model.fit_inputs(moments_of(INPUTS))
        plain = nn.Linear(6, 4)
        plain.load_state_dict(model.head.state_dict())
        torch.testing.assert_close(model(INPUTS), plain(standardized(INPUTS)))

    def test_it_can_be_left_out(self) -> None:
        model = encoder(depth=0, standardize=False)
        model.fit_inputs(moments_of(INPUTS))
        torch.testing.assert_close(model(INPUTS), F.linear(INPUTS, model.head.weight, model.head.bias))

    def test_shift_and_scale_of_the_inputs_change_nothing(self) -> None:
        model, moved = encoder(), encoder()
        model.fit_inputs(moments_of(INPUTS))
        moved.fit_inputs(moments_of(INPUTS * 10 - 3))
        torch.testing.assert_close(moved(INPUTS * 10 - 3), model(INPUTS), atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("constant", [0.0, 5.0, 1e4])
    def test_a_constant_feature_is_only_shifted(self, constant: float) -> None:
        inputs = INPUTS.clone()
        inputs[:, 2] = constant
        model = encoder()
        model.fit_inputs(moments_of(inputs))
        assert float(model.input_scale[2]) == 1
        assert torch.isfinite(model(inputs)).all()

    def test_shift_and_scale_travel_with_the_weights(self) -> None:
        fitted, fresh = encoder(), encoder(depth=2)
        fitted.fit_inputs(moments_of(INPUTS))
        fresh.load_state_dict(fitted.state_dict())
        assert torch.equal(fresh(INPUTS), fitted(INPUTS))


class TestFittingTargets:
    @pytest.mark.parametrize("depth", [0, 2])
    def test_predictions_start_around_the_mean(self, depth: int) -> None:
        model, mean = encoder(depth=depth), torch.tensor([1.0, -2.0, 30.0, 0.0])
        plain = model(INPUTS) - model.head.bias
        model.fit_targets(mean)
        torch.testing.assert_close(model(INPUTS), plain + mean)
        assert model.head.bias.requires_grad


class TestHiddenLayers:
    def by_hand(self, model: Encoder, *, layer_norm: bool, residual: bool) -> Tensor:
        x = INPUTS
        for index, layer in enumerate(model.layers):
            assert isinstance(layer, nn.Sequential)
            weights = dict(layer.named_parameters())
            y = F.linear(x, weights["0.weight"], weights["0.bias"])
            if layer_norm:
                y = (y - y.mean(1, keepdim=True)) / (y.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
            y = F.gelu(y, approximate="tanh")
            x = x + y if residual and index > 0 else y
        return F.linear(x, model.head.weight, model.head.bias)

    @pytest.mark.parametrize("layer_norm", [False, True])
    @pytest.mark.parametrize("residual", [False, True])
    def test_are_linear_norm_gelu_and_a_skip_from_the_second_on(self, layer_norm: bool, residual: bool) -> None:
        model = encoder(depth=3, layer_norm=layer_norm, residual=residual, standardize=False)
        expected = self.by_hand(model, layer_norm=layer_norm, residual=residual)
        torch.testing.assert_close(model(INPUTS), expected)

    def test_dropout_acts_in_training_only(self) -> None:
        model = encoder(dropout=0.5)
        assert torch.equal(model(INPUTS), model(INPUTS))
        model.train()
        assert not torch.equal(model(INPUTS), model(INPUTS))

    def test_without_dropout_training_and_evaluation_agree(self) -> None:
        model = encoder()
        evaluated = model(INPUTS)
        assert torch.equal(model.train()(INPUTS), evaluated)
