"""A command's options made from the fields of a model: one option a field, no second list of names, limits or help."""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from losstune.trainer.base.errors import UserError, shown
from losstune.trainer.base.yaml_file import NULL_WORDS

Command = TypeVar("Command", bound=Callable[..., Any])

NULL = object()
"""What an option that is given as ``null`` is parsed to, as None is one that is not given."""
_NULLABLE = {int: "a whole number", float: "a number", str: "text"}
"""Kinds of options that take ``null`` where their field allows None, in words; a switch takes no value at all."""


def with_options(command: Command, added: Sequence[inspect.Parameter]) -> Command:
    """The command with these options in place of its ``**settings``, in which it receives them."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = [*own, *added]

    @wraps(command)
    def generated(**settings: Any) -> Any:
        return command(**settings)

    generated.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    generated.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return generated  # type: ignore[return-value]


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that stood on the command line, by flat name; None is one that was given as ``null``."""
    return {
        name.replace("__", ".", 1): None if value is NULL else value
        for name, value in settings.items()
        if value is not None
    }


def field_option(name: str, info: FieldInfo, panel: str, also: Sequence[str] = ()) -> inspect.Parameter:
    """The option of one field of a model: its name, type, limits, default and description, in a panel of the help.

    Args:
        also: shorter names of it.
    """
    kind = _plain_type(info.annotation)
    names = [f"--{one.replace('_', '-')}" for one in (name, *also)]
    if kind is bool:
        names = [f"{option}/--no-{option.removeprefix('--')}" for option in names]
    words = _words_beside_numbers(info.annotation)
    parser: Callable[[str], Any] | None = _number_or_word if words else None
    metavar = "|".join(("N", *words)) if words else None
    if types.NoneType in typing.get_args(info.annotation) and kind in _NULLABLE:
        parser = _null_or(parser or _parser(name, kind))
        metavar = f"{metavar or kind.__name__}|null"
    return option_parameter(identifier(name), kind, names, help_text(info), panel, parser, metavar)


def identifier(name: str) -> str:
    """A setting's name as a parameter of a function: the first ``.`` of ``model.depth`` is written ``__``."""
    return name.replace(".", "__")


def option_parameter(
    name: str,
    kind: type,
    names: list[str],
    text: str,
    panel: str,
    parser: Callable[[str], Any] | None = None,
    metavar: str | None = None,
) -> inspect.Parameter:
    """A parameter of a command that is None where its option is not given."""
    declared = typer.Option(
        *names, help=text, rich_help_panel=panel, show_default=False, parser=parser, metavar=metavar
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, declared]
    )


def _plain_type(annotation: Any) -> type:
    """What the command line parses; limits and choices are the config's to check."""
    if _words_beside_numbers(annotation):
        return str
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return str if typing.get_origin(annotation) is Literal else annotation


def _words_beside_numbers(annotation: Any) -> tuple[str, ...]:
    """The words of a field that takes a whole number or a word, as ``int | Literal["all"]``; none of any other."""
    parts = typing.get_args(annotation)
    literals = (typing.get_args(part) for part in parts if typing.get_origin(part) is Literal)
    return tuple(word for words in literals for word in words) if int in parts else ()


def _null_or(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        return NULL if text in NULL_WORDS else parse(text)

    return parsed


def _parser(name: str, kind: type) -> Callable[[str], Any]:
    """Reads what typer would where there is no parser."""

    def parsed(text: str) -> Any:
        try:
            return TypeAdapter(kind).validate_python(text)
        except ValidationError:
            raise UserError(f"{name}: found {shown(text)}; should be {_NULLABLE[kind]}, or null") from None

    return parsed


def _number_or_word(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def help_text(info: FieldInfo) -> str:
    """A field's description, limits and default; a description may have the default in its own words."""
    limits = [
        f"{sign} {getattr(rule, attribute):g}"
        for rule in info.metadata
        for kind, attribute, sign in _LIMITS
        if isinstance(rule, kind)
    ]
    choices = typing.get_args(info.annotation) if typing.get_origin(info.annotation) is Literal else ()
    allowed = ", ".join(choices) if choices else " and ".join(limits)
    notes = [f"({allowed})"] if allowed else []  # in brackets rich would take it for markup, and swallow it
    if not info.is_required() and "(default: " not in (info.description or ""):
        default = info.get_default()
        notes.append(f"(default: {'null' if default is None else default})")
    return "  ".join([info.description or "", *notes])


_LIMITS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"))
