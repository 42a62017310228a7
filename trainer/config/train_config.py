"""The training config: every setting, its default, unit and limits, in this one place.

Outside, a config is flat: ``lr``, ``temperature``, ``model.hidden_dim``. The same names serve the command
line, YAML files, search spaces and tracking. Inside, it is typed: the loss's own parameters sit in
``config.loss``, the encoder's in ``config.model``. With ``model.factory`` a model of the user's own takes the
encoder's place, and its options are the settings under ``model.``.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator
from pydantic.fields import FieldInfo

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.data_rules import ANSWERS_TEXT, SPLIT_BY_TEXT, AnswerRule, DataRules, SplitBy
from losstune.trainer.config.eval_queries import EvalQueries
from losstune.trainer.config.factory import FACTORY, Factory, load_factory
from losstune.trainer.config.loss_config import LossConfig
from losstune.trainer.config.loss_registry import loss_config_class, loss_reference
from losstune.trainer.config.matryoshka import Dims, Prefix, Weights, named_prefixes, one_value
from losstune.trainer.config.model_config import FactoryConfig, ModelConfig, checked_model
from losstune.trainer.config.objective import Objective
from losstune.trainer.config.setting_errors import describe, unknown_name

DEFAULT_LOSS = "cosine"

Schedule = Literal["constant", "cosine"]
Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
Fit = Literal["train", "train+val"]


class TrainConfig(BaseModel):
    """Everything that decides how a model is trained. Build it with :meth:`from_flat`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    data: str = Field(
        "digits", description="digits, a file, a folder, a quoted pattern of files, or package.module:function"
    )
    columns: str | None = Field(
        None, description="names of its arrays where they are not so named: inputs=anchor,targets=positive"
    )
    loss: SerializeAsAny[LossConfig]
    model: ModelConfig | FactoryConfig = Field(default_factory=ModelConfig)
    batch_size: int = Field(ge=1, le=1_048_576, description="rows per step; default: the loss's recommended start")
    accumulate: int = Field(
        1, ge=1, le=1_048_576, description="batches whose gradients are averaged into one step of the optimizer"
    )
    batch_parts: int = Field(
        1, ge=1, le=1024, description="parts in which a batch passes through the model; the loss sees it whole"
    )
    num_epochs: int = Field(300, ge=1, le=1_000_000, description="epochs to train at most")
    lr: float = Field(gt=0, le=100, description="peak learning rate of AdamW; default: the loss's recommended start")
    weight_decay: float = Field(0.01, ge=0, le=100, description="decoupled weight decay of AdamW")
    clip_norm: float | None = Field(1.0, gt=0, description="largest L2 norm of the gradient; null: no clipping")
    schedule: Schedule = Field("constant", description="learning rate after the warm-up: constant, or cosine to 0")
    warmup_epochs: int = Field(0, ge=0, le=1_000_000, description="epochs of linear warm-up")
    schedule_epochs: int | None = Field(
        None, ge=1, le=1_000_000, description="epoch at which the cosine schedule reaches 0; null: num_epochs"
    )
    average_epochs: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="time constant, in epochs, of an average of the weights that is evaluated and kept in place of the "
        "last ones; null: none",
    )
    objective: Objective = Field("val/mrr", description="the metric whose best epoch is kept")
    patience: int | None = Field(None, ge=1, description="epochs without a new best before stopping; null: never")
    fit: Fit = Field("train", description="rows to train on; train+val leaves nothing to validate on")
    center: bool = Field(False, description="subtract the training split's mean target in the loss and in retrieval")
    matryoshka_dims: Dims = Field(
        None, description="dimensions of prefixes whose losses are added to that of the whole, as 32,64,128; null: none"
    )
    matryoshka_weights: Weights = Field(
        None, description="weights of their losses, as 1,1,0.5; 0 only scores a prefix; null: 1 each"
    )
    eval_queries: EvalQueries = Field(
        "all", description="validation rows that are scored, each against all of the split's targets"
    )
    eval_batch: int = Field(
        4096, ge=1, le=1_048_576, description="rows that pass through the model at once outside training"
    )
    precision: Precision = Field("auto", description="arithmetic of the model; auto: bfloat16 on a GPU")
    device: Device = Field("auto", description="auto: a GPU if there is one")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; null: as many as torch takes")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, batches and dropout")
    split_seed: int = Field(0, ge=0, lt=2**63, description="seed of the train/val split; the test split has none")
    split_by: SplitBy = Field("ids", description=SPLIT_BY_TEXT)
    answers: AnswerRule = Field("own", description=ANSWERS_TEXT)

    @model_validator(mode="after")
    def _weighed(self) -> "TrainConfig":
        named_prefixes(self.matryoshka_dims, self.matryoshka_weights)
        return self

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
            loss_class = loss_config_class(settings.get("loss_fn", DEFAULT_LOSS))
            factory = load_factory(settings[FACTORY]) if FACTORY in settings else None
        except UserError as error:
            raise UserError(f"{prefix}{error}") from None
        fields = flat_fields(loss_class, factory)
        for name in settings:
            if name != "loss_fn" and name not in fields:
                raise UserError(f"{prefix}{unknown_name(str(name), loss_class, factory, fields)}")
        parts: dict[str, dict[str, Any]] = {"": {}, "loss": {}, "model": {}}
        for name, value in settings.items():
            if name != "loss_fn":
                group, field = fields[name].group, fields[name].field
                parts[group][field] = one_value(name, value)
        try:
            config = cls(
                **{**_recommended(loss_class), **parts[""]},
                loss=loss_class.model_validate(parts["loss"]),
                model=checked_model(factory, parts["model"]),
            )
        except ValidationError as error:
            raise UserError(prefix + describe(error)) from None
        except UserError as error:
            raise UserError(f"{prefix}{error}") from None
        check_batch_rule(config.batch_size, loss_class, prefix)
        return config

    def flat(self) -> dict[str, Any]:
        """All settings under flat names, ``loss_fn`` first; :meth:`from_flat` reads it back equal."""
        result: dict[str, Any] = {"loss_fn": loss_reference(type(self.loss))}
        result |= self.loss.model_dump() | self.model_dump(exclude={"loss", "model"})
        match self.model:
            case ModelConfig() as encoder:
                own = encoder.model_dump()
            case FactoryConfig(factory=factory, options=options):
                own = {"factory": factory, **options}
        return result | {f"model.{name}": value for name, value in own.items()}

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Prefixes of the embeddings that are named, the shortest first."""
        return named_prefixes(self.matryoshka_dims, self.matryoshka_weights)

    @property
    def rules(self) -> DataRules:
        """How rows are split, and which targets are right."""
        return DataRules(self.split_by, self.answers)

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
    *("checkpoint", "test", "overwrite", "debug_nan", "json", "help"),
)
"""Names that a config file, and the command line of a training, use for something else than a setting."""


def flat_fields(loss_class: type[LossConfig], factory: Factory | None = None) -> dict[str, FlatField]:
    """Every setting of a config with this loss and model, by flat name (``loss_fn`` itself aside).

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
    own = {"factory": FactoryConfig.model_fields["factory"], **factory.options} if factory else ModelConfig.model_fields
    return result | {f"model.{name}": FlatField(group="model", field=name, info=info) for name, info in own.items()}


def default_settings(loss_class: type[LossConfig], factory: Factory | None = None) -> dict[str, Any]:
    """What every setting is where nothing is given, by flat name; an option that a factory requires is not there."""
    fields = flat_fields(loss_class, factory).items()
    known = {
        n: field.info.get_default(call_default_factory=True) for n, field in fields if not field.info.is_required()
    }
    return known | _recommended(loss_class)


def required_settings(loss_class: type[LossConfig], factory: Factory | None = None) -> set[str]:
    """Settings without a default, by flat name: options that a factory requires."""
    return flat_fields(loss_class, factory).keys() - default_settings(loss_class, factory).keys() - {FACTORY}


def _recommended(loss_class: type[LossConfig]) -> dict[str, Any]:
    return {"batch_size": loss_class.recommended_batch, "lr": loss_class.start_lr}


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
