"""Which model a config has: the encoder, or a factory's, each with its own settings."""

import pytest
from pydantic import ValidationError

from losstune.trainer.config.factory import load_factory
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig, checked_model
from tests.trainer.own_models import HERE
from tests.trainer.samples import refusal


def test_without_a_factory_it_is_the_encoder() -> None:
    assert checked_model(None, {"depth": 0}) == ModelConfig(depth=0)


@pytest.mark.parametrize("settings", [{"depth": -1}, {"depth": 65}, {"dropout": 1.0}, {"depth": 1.5}, {"width": 3}])
def test_the_encoders_settings_have_limits(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        checked_model(None, settings)


def test_a_factorys_options_are_all_there() -> None:
    factory = load_factory(f"{HERE}:features")
    made = checked_model(factory, {"width": 7})
    assert isinstance(made, FactoryConfig)
    assert made.factory == f"{HERE}:features"
    assert made.options == {**factory.checked({}), "width": 7}
    assert refusal(checked_model, factory, {"width": "wide"}).startswith("model.width: found 'wide'; ")
