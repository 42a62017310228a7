"""Command-line options made from the training config: one option per setting, no second list of defaults."""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from itertools import zip_longest
from typing import Annotated, Any, Literal, TypeVar

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.config.factory import FACTORY, Factory
from losstune.trainer.config.train_config import FactoryConfig, FlatField, flat_fields
from losstune.trainer.losses import loss_config_class, loss_names

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command, loss: str | None = None, factory: Factory | None = None) -> Command:
    """The command with an option for every setting of every loss and of one model, where it takes ``**settings``.

    It receives only the settings that were given, by flat name with the first ``.`` written ``__``; :func:`given`
    turns them back.

    Args:
        loss: the loss that is asked for, which nobody needs to have registered; where losses share an option, its help
            and type are this one's.
        factory: of a model of the user's own; None is the built-in encoder.

    Raises:
        UserError: that loss can not be imported.
    """
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [_loss_option(), _factory_option()]
    for name, field in _all_fields(loss, factory).items():
        added.append(_own_option(name, field.info) if factory and field.group == "model" else _option(name, field))
    parameters = [*own, *added]

    @wraps(command)
    def with_options(**settings: Any) -> Any:
        return command(**settings)

    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return with_options  # type: ignore[return-value]


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


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that stood on the command line, by flat name."""
    return {name.replace("__", ".", 1): value for name, value in settings.items() if value is not None}


def _all_fields(asked: str | None, factory: Factory | None) -> dict[str, FlatField]:
    merged = flat_fields(loss_config_class(asked), factory) if asked else {}
    for name in loss_names():
        with suppress(UserError):  # one that can not be imported harms only those who ask for it
            merged = flat_fields(loss_config_class(name), factory) | merged
    return {name: field for name, field in merged.items() if name != FACTORY}


def _loss_option() -> inspect.Parameter:
    text = f"the loss: {', '.join(loss_names())}, or package.module:ConfigClass"
    return _parameter("loss_fn", str, ["--loss-fn"], f"{text}  (default: cosine)", "Training")


def _factory_option() -> inspect.Parameter:
    text = f"{FactoryConfig.model_fields['factory'].description}  (default: the built-in encoder)"
    return _parameter(_identifier(FACTORY), str, [f"--{FACTORY}"], text, "Model")


def _own_option(name: str, info: FieldInfo) -> inspect.Parameter:
    """An option of the user's factory; what is not annotated as one plain type is read as in a YAML file."""
    names = [f"--{name.replace('_', '-')}"]
    if info.annotation is bool:
        names = [f"{names[0]}/--no-{name.replace('_', '-')}"]
    annotation: Any = info.annotation
    kind: type = annotation if annotation in _PLAIN else str
    parser = None if kind is annotation else lambda text: parse_yaml(f"{name}: {text}", f"--{name}").data[name]
    return _parameter(_identifier(name), kind, names, _help(info), "Model", parser)


def _option(name: str, field: FlatField) -> inspect.Parameter:
    kind = _plain_type(field.info.annotation)
    dashed = name.replace("_", "-")
    names = [f"--{dashed}"]
    if field.group == "model":
        names.append(f"--{field.field.replace('_', '-')}")
    if kind is bool:
        names = [f"{option}/--no-{option.removeprefix('--')}" for option in names]
    panel = {"": "Training", "loss": "Loss", "model": "Encoder"}[field.group]
    return _parameter(_identifier(name), kind, names, _help(field.info), panel)


def _identifier(name: str) -> str:
    return name.replace(".", "__")


def _parameter(
    name: str, kind: type, names: list[str], text: str, panel: str, parser: Callable[[str], Any] | None = None
) -> inspect.Parameter:
    option = typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, parser=parser)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _plain_type(annotation: Any) -> type:
    """What the command line parses; limits and choices are the config's to check."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return str if typing.get_origin(annotation) is Literal else annotation


def _help(info: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(rule, attribute):g}"
        for rule in info.metadata
        for kind, attribute, sign in _LIMITS
        if isinstance(rule, kind)
    ]
    choices = typing.get_args(info.annotation) if typing.get_origin(info.annotation) is Literal else ()
    allowed = ", ".join(choices) if choices else " and ".join(limits)
    notes = [f"({allowed})"] if allowed else []  # in brackets rich would take it for markup, and swallow it
    if not info.is_required():
        default = info.get_default()
        notes.append(f"(default: {'null' if default is None else default})")
    return "  ".join([info.description or "", *notes])


_PLAIN: tuple[type, ...] = (bool, int, float, str)
_LIMITS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"))
