"""A command's options made from the fields of a model: one option a field, no second list of names, limits or help."""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

Command = TypeVar("Command", bound=Callable[..., Any])


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
    """The settings that stood on the command line, by flat name."""
    return {name.replace("__", ".", 1): value for name, value in settings.items() if value is not None}


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
    return option_parameter(
        identifier(name),
        kind,
        names,
        help_text(info),
        panel,
        parser=_number_or_word if words else None,
        metavar="|".join(("N", *words)) if words else None,
    )


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
