"""The training config: every setting, its default, unit and limits, in this one place.

Outside, a config is flat: ``lr``, ``temperature``, ``model.hidden_dim``. The same names serve the command
line, YAML files, search spaces and tracking. Inside, it is typed: the loss's own parameters sit in
``config.loss``, the encoder's in ``config.model``.
"""

import difflib
import math
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError
from pydantic.fields import FieldInfo

from trainer.errors import UserError
from trainer.losses import LossConfig, loss_config_class, loss_names, loss_reference
from trainer.losses.cosine import CosineConfig
from trainer.metrics import Objective

Schedule = Literal["constant", "cosine"]
Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
Fit = Literal["train", "train+val"]


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


class TrainConfig(_Frozen):
    """Everything that decides how a model is trained. Build it with :meth:`from_flat`."""

    data: str = Field("digits", description="digits, a .npz/.safetensors/.parquet file, or package.module:function")
    loss: SerializeAsAny[LossConfig] = Field(default_factory=CosineConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    batch_size: int = Field(ge=1, le=1_048_576, description="rows per step; default: the loss's recommended start")
    num_epochs: int = Field(300, ge=1, le=1_000_000, description="epochs to train at most")
    lr: float = Field(gt=0, le=100, description="peak learning rate of AdamW; default: the loss's recommended start")
    weight_decay: float = Field(0.01, ge=0, le=100, description="decoupled weight decay of AdamW")
    clip_norm: float | None = Field(1.0, gt=0, description="largest L2 norm of the gradient; null: no clipping")
    schedule: Schedule = Field("constant", description="learning rate after the warm-up: constant, or cosine to 0")
    warmup_epochs: int = Field(0, ge=0, le=1_000_000, description="epochs of linear warm-up")
    schedule_epochs: int | None = Field(
        None, ge=1, le=1_000_000, description="epoch at which the cosine schedule reaches 0; null: num_epochs"
    )
    objective: Objective = Field("val/mrr", description="the metric whose best epoch is kept")
    patience: int | None = Field(None, ge=1, description="epochs without a new best before stopping; null: never")
    fit: Fit = Field("train", description="rows to train on; train+val leaves nothing to validate on")
    center: bool = Field(False, description="subtract the training split's mean target in the loss and in retrieval")
    precision: Precision = Field("auto", description="arithmetic of the model; auto: bfloat16 on a GPU")
    device: Device = Field("auto", description="auto: a GPU if there is one")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; null: as many as torch takes")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, batches and dropout")
    split_seed: int = Field(0, ge=0, lt=2**63, description="seed of the train/val split; the test split has none")

    @classmethod
    def from_flat(cls, settings: Mapping[str, Any], where: str = "") -> "TrainConfig":
        """Build a config from flat names; what is absent takes its default.

        Args:
            settings: ``{"loss_fn": "infonce", "temperature": 0.05, "model.depth": 0, …}``.
            where: put before messages, for example a file name.

        Raises:
            UserError: an unknown name, a value outside its limits, or a rule broken; says which.
        """
        prefix = f"{where}: " if where else ""
        try:
            loss_class = loss_config_class(settings.get("loss_fn", CosineConfig.name))
        except UserError as error:
            raise UserError(f"{prefix}{error}") from None
        fields = flat_fields(loss_class)
        for name in settings:
            if name != "loss_fn" and name not in fields:
                raise UserError(f"{prefix}{unknown_name(str(name), loss_class)}")
        parts: dict[str, dict[str, Any]] = {"": {}, "loss": {}, "model": {}}
        for name, value in settings.items():
            if name != "loss_fn":
                group, field = fields[name].group, fields[name].field
                parts[group][field] = value
        start = {"batch_size": loss_class.recommended_batch, "lr": loss_class.start_lr}
        try:
            config = cls(
                **{**start, **parts[""]},
                loss=loss_class.model_validate(parts["loss"]),
                model=ModelConfig.model_validate(parts["model"]),
            )
        except ValidationError as error:
            raise UserError(prefix + describe(error)) from None
        check_batch_rule(config.batch_size, loss_class, prefix)
        return config

    def flat(self) -> dict[str, Any]:
        """All settings under flat names, ``loss_fn`` first; :meth:`from_flat` reads it back equal."""
        result: dict[str, Any] = {"loss_fn": loss_reference(type(self.loss))}
        for name, field in flat_fields(type(self.loss)).items():
            owner: BaseModel = {"": self, "loss": self.loss, "model": self.model}[field.group]
            result[name] = owner.model_dump()[field.field]
        return result

    @property
    def horizon(self) -> int:
        """Epoch at which the cosine schedule ends."""
        return self.schedule_epochs or self.num_epochs


class FlatField(BaseModel):
    """One setting by its flat name: where it sits, and its type, default and limits."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    group: Literal["", "loss", "model"]
    field: str
    info: FieldInfo


COMMAND_NAMES = (
    *("loss_fn", "source", "config", "output_dir", "resume"),
    *("checkpoint", "test", "overwrite", "json", "help"),
)
"""Names that a config file, and the command line of a training, use for something else than a setting."""


def flat_fields(loss_class: type[LossConfig]) -> dict[str, FlatField]:
    """Every setting of a config with this loss, by flat name (``loss_fn`` itself aside).

    Raises:
        UserError: a parameter of the loss has the name of a training setting, or of another option.
    """
    result = {name: FlatField(group="loss", field=name, info=info) for name, info in loss_class.model_fields.items()}
    for name in (*TrainConfig.model_fields, *ModelConfig.model_fields, *COMMAND_NAMES):
        if name in result:
            raise UserError(f"loss {loss_class.name}: its parameter {name!r} is a training setting already")
    for name, info in TrainConfig.model_fields.items():
        if name not in ("loss", "model"):
            result[name] = FlatField(group="", field=name, info=info)
    for name, info in ModelConfig.model_fields.items():
        result[f"model.{name}"] = FlatField(group="model", field=name, info=info)
    return result


def flatten(nested: Mapping[str, Any]) -> dict[str, Any]:
    """``{"model": {"depth": 0}}`` → ``{"model.depth": 0}``; flat names pass through.

    Raises:
        UserError: a name stands twice.
    """
    flat: dict[str, Any] = {}
    for name, value in _flatten(nested, ""):
        if name in flat:
            raise UserError(f"{name} stands twice, nested and with a dot")
        flat[name] = value
    return flat


def _flatten(nested: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def unknown_name(name: str, loss_class: type[LossConfig], hidden: Container[str] = ()) -> str:
    """Message for a name that no setting has, with the loss it belongs to or the nearest names not ``hidden``."""
    if owners := list(_owners(name)):
        return f"{name} belongs to {', '.join(owners)}, not to {loss_class.name}"
    allowed = [field for field in flat_fields(loss_class) if field not in hidden]
    near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; allowed: {', '.join(allowed)}"
    return f"{name} is not a setting{hint}"


def _owners(parameter: str) -> Iterator[str]:
    for loss in loss_names():
        with suppress(UserError):  # one that can not be imported is no reason to refuse another
            if parameter in loss_config_class(loss).model_fields:
                yield loss


def check_batch_rule(batch_size: float, loss_class: type[LossConfig], prefix: str = "") -> None:
    """Refuse a batch smaller than the loss allows.

    Raises:
        UserError: with the rule.
    """
    if batch_size < loss_class.smallest_batch:
        raise UserError(
            f"{prefix}batch_size: found {batch_size}; {loss_class.name} needs at least "
            f"{loss_class.smallest_batch} ({loss_class.recommended_batch} or more is recommended)"
        )


def describe(error: ValidationError) -> str:
    """Pydantic's findings as ``name: found value; what is allowed``, one per line."""
    lines = []
    for finding in error.errors():
        name = ".".join(str(part) for part in finding["loc"])
        if error.title == "ModelConfig":
            name = f"model.{name}"
        rule = finding["msg"].removeprefix("Input ").removeprefix("Value error, ")
        lines.append(f"{name}: found {_shown(finding['input'])}; {rule}" if name else rule)
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
