"""Command-line options made from the training config: one option per setting, no second list of defaults."""

import inspect
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from pydantic.fields import FieldInfo

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.cli.field_options import (
    NULL,
    Command,
    field_option,
    help_text,
    identifier,
    option_parameter,
    with_options,
)
from losstune.trainer.config.factory import FACTORY, Factory
from losstune.trainer.config.loss_registry import loss_config_class, loss_names
from losstune.trainer.config.model_config import FactoryConfig
from losstune.trainer.config.train_config import DEFAULT_LOSS, FlatField, flat_fields


def config_options(command: Command, loss: str | None = None, factory: Factory | None = None) -> Command:
    """The command with an option for every setting of every loss and of one model, where it takes ``**settings``.

    It receives them by flat name with the first ``.`` written ``__``, None where one was not given;
    :func:`~losstune.trainer.cli.field_options.given` turns them back.

    Args:
        loss: the loss that is asked for, which nobody needs to have registered; where losses share an option, its help
            and type are this one's.
        factory: of a model of the user's own; None is the built-in encoder.

    Raises:
        UserError: that loss can not be imported.
    """
    added = [_loss_option(), _factory_option()]
    for name, field in _all_fields(loss, factory).items():
        added.append(_own_option(name, field.info) if factory and field.group == "model" else _option(name, field))
    return with_options(command, added)


def option_value(arguments: Sequence[str], option: str) -> str | None:
    """What an option is given on a command line that is not parsed yet: which options there are may depend on it.

    Args:
        option: as it is written with dashes, ``--loss-fn``; ``--loss_fn`` and ``--loss-fn=…`` are found too.
    """
    found = None
    for argument, following in zip_longest(arguments, arguments[1:]):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") == option:
            found = value if equals else following
    return found


def _all_fields(asked: str | None, factory: Factory | None) -> dict[str, FlatField]:
    merged = flat_fields(loss_config_class(asked), factory) if asked else {}
    for name in loss_names():
        with suppress(UserError):  # one that can not be imported harms only those who ask for it
            merged = flat_fields(loss_config_class(name), factory) | merged
    return {name: field for name, field in merged.items() if name != FACTORY}


def _loss_option() -> inspect.Parameter:
    text = f"the loss: {', '.join(loss_names())}, or package.module:ConfigClass"
    return option_parameter("loss_fn", str, ["--loss-fn"], f"{text}  (default: {DEFAULT_LOSS})", "Training")


def _factory_option() -> inspect.Parameter:
    text = f"{FactoryConfig.model_fields['factory'].description}  (default: the built-in encoder)"
    return option_parameter(identifier(FACTORY), str, [f"--{FACTORY}"], text, "Model")


def _own_option(name: str, info: FieldInfo) -> inspect.Parameter:
    """An option of the user's factory; what is not annotated as one plain type is read as in a YAML file."""
    names = [f"--{name.replace('_', '-')}"]
    if info.annotation is bool:
        names = [f"{names[0]}/--no-{name.replace('_', '-')}"]
    annotation: Any = info.annotation
    kind: type = annotation if annotation in _PLAIN else str
    parser = None if kind is annotation else lambda text: _as_in_yaml(name, text)
    return option_parameter(identifier(name), kind, names, help_text(info), "Model", parser)


def _as_in_yaml(name: str, text: str) -> Any:
    value = parse_yaml(f"{name}: {text}", f"--{name}").data[name]
    return NULL if value is None else value


def _option(name: str, field: FlatField) -> inspect.Parameter:
    panel = {"": "Training", "loss": "Loss", "model": "Encoder"}[field.group]
    return field_option(name, field.info, panel, also=(field.field,) if field.group == "model" else ())


_PLAIN: tuple[type, ...] = (bool, int, float, str)
