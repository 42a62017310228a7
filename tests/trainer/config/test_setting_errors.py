"""The words of what is wrong with a setting. That a config is refused with them is in test_train_config."""

import inspect

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from losstune.trainer.config.factory import Factory
from losstune.trainer.config.loss_registry import loss_config_class
from losstune.trainer.config.model_config import ModelConfig
from losstune.trainer.config.setting_errors import describe, unknown_name
from losstune.trainer.config.train_config import flat_fields


@pytest.mark.parametrize(
    ("loss_fn", "name", "message"),
    [
        (
            "infonce",
            "temperatur",
            "temperatur is not a setting; did you mean temperature or learn_temperature or target_temperature?",
        ),
        ("cosine", "batchsize", "batchsize is not a setting; did you mean batch_size or batch_parts or eval_batch?"),
        ("cosine", "hidden_dim", "hidden_dim is not a setting; did you mean model.hidden_dim?"),
        ("cosine", "temperature", "temperature belongs to full_softmax, infonce, infonce_cosine, not to cosine"),
        ("infonce", "cosine_weight", "cosine_weight belongs to cosine_mse, not to infonce"),
    ],
)
def test_an_unknown_name_is_told_with_what_was_meant(loss_fn: str, name: str, message: str) -> None:
    loss = loss_config_class(loss_fn)
    assert unknown_name(name, loss, None, flat_fields(loss)) == message


def test_a_name_like_no_other_is_told_with_all_that_there_are_each_once() -> None:
    mse = loss_config_class("mse")
    assert unknown_name("zzz", mse, None, ["lr", "seed"]) == "zzz is not a setting; allowed: lr, seed, model.factory"
    assert unknown_name("zzz", mse, None, ["model.factory"]) == "zzz is not a setting; allowed: model.factory"


def test_an_option_of_a_factory_is_one_of_its_own() -> None:
    factory = Factory("mine:build", inspect.signature, ModelConfig.model_fields)
    mse = loss_config_class("mse")
    found = unknown_name("model.dept", mse, factory, flat_fields(mse, factory))
    assert found == "model.dept is not an option of mine:build; did you mean model.depth or model.dropout?"
    bare = Factory("mine:build", inspect.signature, {})
    assert unknown_name("model.x", mse, bare, []) == "model.x is not an option of mine:build; allowed: none"


class Sizes(BaseModel):
    """Two values, and a rule for both."""

    low: int = Field(ge=1)
    high: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Sizes":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def error_of(model: type[BaseModel], **values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return caught.value


def test_each_value_that_is_not_allowed_has_its_line() -> None:
    assert describe(error_of(Sizes, low=0, high="x" * 200)).splitlines() == [
        "low: found 0; should be greater than or equal to 1",
        f"high: found '{'x' * 76}...; should be a valid integer, unable to parse string as an integer",
    ]


def test_a_rule_for_several_stands_alone() -> None:
    assert describe(error_of(Sizes, low=2, high=1)) == "low is above high"


def test_the_encoders_settings_have_their_flat_names() -> None:
    assert describe(error_of(ModelConfig, depth=-1)).startswith("model.depth: found -1; ")
