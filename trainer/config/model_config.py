"""The model of a run, as its config has it: the built-in encoder, or one that a factory of the user's builds."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from losstune.trainer.config.factory import Factory, Scalar


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(_Frozen):
    """The built-in encoder."""

    hidden_dim: int = Field(256, ge=1, le=65_536, description="width of each hidden layer")
    depth: int = Field(2, ge=0, le=64, description="number of hidden layers; 0 is a plain linear map")
    residual: bool = Field(False, description="add each hidden layer's input to its output, from the second on")
    dropout: float = Field(0.0, ge=0, le=0.95, description="share of hidden units dropped in training")
    layer_norm: bool = Field(True, description="normalise each hidden layer before its activation")
    standardize: bool = Field(True, description="shift and scale inputs by the training split's mean and deviation")


class FactoryConfig(_Frozen):
    """A model of the user's own, in place of the built-in encoder."""

    factory: str = Field(description="package.module:name of a function or class that builds the model")
    options: Mapping[str, Scalar] = Field(default_factory=dict, description="every option of the factory, by name")


def checked_model(factory: Factory | None, settings: Mapping[str, Any]) -> ModelConfig | FactoryConfig:
    """The model's config of settings under ``model.``, named without it: of a factory's model, or of the encoder.

    Raises:
        ValidationError: a setting that the encoder does not have, or a value outside its limits.
        UserError: the same of the factory's options.
    """
    if factory is None:
        return ModelConfig.model_validate(settings)
    return FactoryConfig(factory=factory.reference, options=factory.checked(settings))
