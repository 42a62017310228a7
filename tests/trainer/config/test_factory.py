"""A factory's signature as a schema: its options, their types, limits and defaults, and what is no factory."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field
from torch import nn

from losstune.trainer.config.factory import Factory, load_factory
from losstune.trainer.config.flat_names import flatten
from losstune.trainer.config.loss_registry import loss_config_class
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig
from losstune.trainer.config.train_config import TrainConfig, default_settings, required_settings
from tests.trainer.own_models import HERE
from tests.trainer.samples import refusal

Build = Callable[..., object]
MSE = loss_config_class("mse")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module named ``mine``."""
    made = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", made)
    return made


def build(
    input_shape: tuple[int, ...],
    output_dim: int,
    heads: Annotated[int, Field(ge=1, le=8, description="attention heads")],
    depth: int = 2,
    dropout: float = 0,
    pool: Literal["mean", "max"] = "mean",
    norm: bool = False,
    size: int = None,  # type: ignore[assignment]  # noqa: RUF013 - as many write it
    free=7,
    activation: Build = nn.GELU,
    widths: tuple[int, ...] = (64, 64),
    *arguments: object,
    **more: object,
) -> nn.Module:
    return nn.Linear(2, 2)


@pytest.fixture
def factory(module: ModuleType) -> Factory:
    module.build = build  # type: ignore[attr-defined]
    return load_factory("mine:build")


class TestOptions:
    def test_are_the_plain_parameters_of_the_signature(self, factory: Factory) -> None:
        assert list(factory.options) == ["heads", "depth", "dropout", "pool", "norm", "size", "free"]
        assert factory.options["heads"].description == "attention heads"

    def test_take_the_defaults_of_the_signature(self, factory: Factory) -> None:
        expected = {"heads": 3, "depth": 2, "dropout": 0.0, "pool": "mean", "norm": False, "size": None, "free": 7}
        assert factory.checked({"heads": 3}) == expected

    def test_one_without_a_default_has_to_be_given(self, factory: Factory) -> None:
        assert refusal(factory.checked, {}) == "model.heads is missing: mine:build has no default for it"

    @pytest.mark.parametrize(
        ("name", "value"),
        [("heads", 8), ("dropout", 1), ("pool", "max"), ("size", 5), ("size", None), ("free", "x"), ("free", 0.5)],
    )
    def test_take_what_their_annotation_allows(self, factory: Factory, name: str, value: object) -> None:
        found = factory.checked({"heads": 1, name: value})[name]
        assert found == value
        assert type(found) is (float if name == "dropout" else type(value))

    @pytest.mark.parametrize(
        ("name", "value", "finding"),
        [
            ("heads", 0, "found 0; should be greater than or equal to 1"),
            ("heads", 9, "found 9; should be less than or equal to 8"),
            ("depth", 1.5, "found 1.5; should be a valid integer"),
            ("depth", True, "found True; should be a valid integer"),
            ("depth", "2", "found '2'; should be a valid integer"),
            ("dropout", "0.1", "found '0.1'; should be a valid number"),
            ("dropout", float("nan"), "found nan; should be a finite number"),
            ("free", float("inf"), "found inf; should be a finite number"),
            ("pool", "sum", "found 'sum'; should be 'mean' or 'max'"),
            ("norm", 1, "found 1; should be a valid boolean"),
            ("size", 1.5, "found 1.5; should be a valid integer"),
            ("free", [1], "found [1]; should be one value: text, a number, true, false or null"),
        ],
    )
    def test_refuse_another_type_or_a_value_outside_the_limits(
        self, factory: Factory, name: str, value: object, finding: str
    ) -> None:
        assert refusal(factory.checked, {"heads": 1, name: value}) == f"model.{name}: {finding}"

    def test_a_class_is_a_factory_too(self) -> None:
        assert list(load_factory(f"{HERE}:Conv").options) == ["depth", "width", "pool"]

    def test_annotations_may_be_text(self, module: ModuleType) -> None:
        source = "from __future__ import annotations\ndef build(input_shape, output_dim, depth: int = 2): ..."
        exec(source, module.__dict__)
        message = refusal(load_factory("mine:build").checked, {"depth": "x"})
        assert message == "model.depth: found 'x'; should be a valid integer"


def unreadable(input_shape, output_dim, depth: "Depth" = 2): ...  # type: ignore[name-defined]  # noqa: F821


def odd(input_shape, output_dim, mode: ModelConfig): ...


def mismatched(input_shape, output_dim, depth: Annotated[int, Field(max_length=2)] = 1): ...


def wrong(input_shape, output_dim, depth: int = "two"): ...  # type: ignore[assignment]


def positional(input_shape, output_dim, /): ...


def named(input_shape, output_dim, factory: str = "x"): ...


CALLED = "a factory is called as build(input_shape=…, output_dim=…, options)"


class TestWhatIsNoFactory:
    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            ("os:system", f"model.factory os:system: takes no input_shape and no output_dim; {CALLED}"),
            ("torch.nn:Linear", f"model.factory torch.nn:Linear: takes no input_shape and no output_dim; {CALLED}"),
            ("os:sep", "model.factory os:sep: is str, not a function or class"),
            ("os:nothing", "model.factory os:nothing: module 'os' has no attribute 'nothing'"),
            ("no_such_module:f", "model.factory no_such_module:f: No module named 'no_such_module'"),
            ("os.system", "model.factory: found 'os.system'; expected package.module:name"),
            (None, "model.factory: found None; expected package.module:name"),
            (["os"], "model.factory: found ['os']; expected package.module:name"),
        ],
    )
    def test_is_refused_with_its_reason(self, reference: Any, message: str) -> None:
        assert refusal(load_factory, reference) == message

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda input_shape: None, f"takes no output_dim; {CALLED}"),
            (lambda **options: None, f"takes no input_shape and no output_dim; {CALLED}"),
            (positional, f"takes no input_shape and no output_dim; {CALLED}"),
            (unreadable, "its signature can not be read: name 'Depth' is not defined"),
            (wrong, "its option depth: found 'two'; should be a valid integer"),
            (
                odd,
                "its option mode has a type that no setting has: "
                "<class 'losstune.trainer.config.model_config.ModelConfig'>",
            ),
            (
                mismatched,
                "its option depth: found 1: Unable to apply constraint 'max_length' to supplied value 1",
            ),
            (named, "its option factory has the name of the setting that names it"),
        ],
    )
    def test_is_refused_by_its_signature(self, module: ModuleType, function: Build, message: str) -> None:
        module.build = function  # type: ignore[attr-defined]
        assert refusal(load_factory, "mine:build") == f"model.factory mine:build: {message}"

    def test_is_not_called(self, module: ModuleType) -> None:
        module.build = lambda command: pytest.fail("called")  # type: ignore[attr-defined]
        refusal(TrainConfig.from_flat, {"model.factory": "mine:build"})


@pytest.mark.usefixtures("factory")
class TestConfig:
    OWN: dict[str, Any] = {"model.factory": "mine:build", "model.heads": 2}  # noqa: RUF012 - never changed

    def test_has_every_option_written_out_and_reads_back_equal(self) -> None:
        config = TrainConfig.from_flat({**self.OWN, "model.dropout": 1})
        assert isinstance(config.model, FactoryConfig)
        own = {name: value for name, value in config.flat().items() if name.startswith("model.")}
        expected = {"model.factory": "mine:build", "model.heads": 2, "model.depth": 2, "model.dropout": 1.0}
        assert own == expected | {"model.pool": "mean", "model.norm": False, "model.size": None, "model.free": 7}
        assert TrainConfig.from_flat(config.flat()) == config

    def test_a_config_file_nests_it(self) -> None:
        nested = flatten({"model": {"factory": "mine:build", "heads": 2}})
        assert TrainConfig.from_flat(nested) == TrainConfig.from_flat(self.OWN)

    def test_its_other_settings_are_those_of_the_encoders_config(self) -> None:
        own, encoder = TrainConfig.from_flat(self.OWN).flat(), TrainConfig.from_flat({}).flat()
        assert [pair for pair in own.items() if "model." not in pair[0]] == [
            pair for pair in encoder.items() if "model." not in pair[0]
        ]

    def test_defaults_and_what_has_none(self, factory: Factory) -> None:
        defaults = default_settings(MSE, factory)
        assert {**defaults, **self.OWN, "loss_fn": "mse"} == TrainConfig.from_flat(
            {**self.OWN, "loss_fn": "mse"}
        ).flat()
        assert required_settings(MSE, factory) == {"model.heads"}
        assert default_settings(MSE) | {"loss_fn": "mse"} == TrainConfig.from_flat({"loss_fn": "mse"}).flat()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"model.poll": 1}, "model.poll is not an option of mine:build; did you mean model.pool?"),
            (
                {"model.hidden_dim": 1},
                "model.hidden_dim is not an option of mine:build; allowed: model.heads, model.depth, model.dropout, "
                "model.pool, model.norm, model.size, model.free",
            ),
            ({"model.depth": 1.5}, "model.depth: found 1.5; should be a valid integer"),
            ({"model.factory": "mine:other"}, "model.factory mine:other: module 'mine' has no attribute 'other'"),
            ({"lr": 0.0}, "lr: found 0.0; should be greater than 0"),
        ],
    )
    def test_a_mistake_is_named_after_its_file(self, settings: dict[str, Any], message: str) -> None:
        assert refusal(TrainConfig.from_flat, self.OWN | settings, where="best.yaml") == f"best.yaml: {message}"

    def test_a_factory_that_is_misspelt_is_recognised(self) -> None:
        message = refusal(TrainConfig.from_flat, {"model.factry": "mine:build"})
        assert message.startswith("model.factry is not a setting; did you mean model.factory or ")

    def test_without_options_there_is_nothing_to_name(self, module: ModuleType) -> None:
        module.build = lambda input_shape, output_dim: torch.nn.Linear(1, 1)  # type: ignore[attr-defined]
        message = refusal(TrainConfig.from_flat, {"model.factory": "mine:build", "model.depth": 1})
        assert message == "model.depth is not an option of mine:build; allowed: none"
