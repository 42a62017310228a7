"""A model of the user's own: a factory named as ``package.module:name``, whose signature says what may be set."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Optional, TypeAlias, TypeGuard

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from losstune.trainer.base.errors import UserError, one_line, shown
from losstune.trainer.base.references import resolve

FACTORY = "model.factory"
GIVEN = ("input_shape", "output_dim")
"""What every factory is called with, beside its options."""

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Factory:
    """What builds a model, and what may be set about it.

    Attributes:
        reference: ``package.module:name``.
        build: a function or class, called with ``input_shape``, ``output_dim`` and the options, all by keyword.
        options: its other parameters, with the types, limits and defaults of its signature. One whose default is no
            plain value (a function, a tuple) is none of them: the factory keeps it to itself.
    """

    reference: str
    build: Callable[..., object]
    options: Mapping[str, FieldInfo]

    def checked(self, given: Mapping[str, Any]) -> dict[str, Scalar]:
        """The value of every option: as given, else its default.

        Raises:
            UserError: a value of another type than its annotation or outside its limits, or one that is missing.
        """
        result: dict[str, Scalar] = {}
        for name, info in self.options.items():
            if name in given:
                result[name] = _checked(f"model.{name}", info, given[name])
            elif info.is_required():
                raise UserError(f"model.{name} is missing: {self.reference} has no default for it")
            else:
                result[name] = info.get_default()
        return result


def load_factory(reference: str) -> Factory:
    """Import a factory and read its signature; it is not called.

    A checkpoint names its factory too, so what is no factory must not get as far as a call: ``os:system`` takes
    neither a shape nor a dimension.

    Raises:
        UserError: it can not be imported, is nothing that builds a model, or has options that can not be set.
    """
    build = resolve(reference, FACTORY)
    where = f"{FACTORY} {reference}"
    if not callable(build):
        raise UserError(f"{where}: is {type(build).__name__}, not a function or class")
    try:
        parameters = inspect.signature(build, eval_str=True).parameters.values()
    except Exception as error:  # a builtin without one, or an annotation that can not be evaluated
        raise UserError(f"{where}: its signature can not be read: {one_line(error)}") from None
    by_name = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if missing := [name for name in GIVEN if name not in by_name]:
        raise UserError(
            f"{where}: takes no {' and no '.join(missing)}; "
            "a factory is called as build(input_shape=…, output_dim=…, options)"
        )
    options = {name: _option(where, by_name[name]) for name in by_name if name not in GIVEN}
    if "factory" in options:
        raise UserError(f"{where}: its option factory has the name of the setting that names it")
    return Factory(reference, build, {name: info for name, info in options.items() if info is not None})


def adapter_of(info: FieldInfo) -> TypeAdapter[Any]:
    """Checks one value against a field's type and limits, as its model would."""
    annotated: Any = info.annotation
    for rule in info.metadata:
        annotated = Annotated[annotated, rule]
    return TypeAdapter(annotated, config={"strict": True, "allow_inf_nan": False, "arbitrary_types_allowed": True})


def rule_of(error: ValidationError) -> str:
    """What pydantic allows, as a phrase."""
    return error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value error, ")


def _option(where: str, parameter: inspect.Parameter) -> FieldInfo | None:
    """A parameter as a setting; None where its default is no plain value."""
    annotation: Any = Any if parameter.annotation is parameter.empty else parameter.annotation
    if parameter.default is None:
        annotation = Optional[annotation]  # noqa: UP045 - an annotation may be what has no operator |
    name = f"{where}: its option {parameter.name}"
    try:
        if parameter.default is parameter.empty:
            info = FieldInfo.from_annotation(annotation)
            adapter_of(info)
        elif _is_scalar(parameter.default):
            info = FieldInfo.from_annotated_attribute(annotation, parameter.default)
            info.default = _checked(name, info, parameter.default)
        else:
            return None
    except PydanticUserError:
        raise UserError(f"{name} has a type that no setting has: {annotation}") from None
    return info


def _checked(name: str, info: FieldInfo, value: object) -> Scalar:
    if not _is_scalar(value):
        raise UserError(f"{name}: found {shown(value)}; should be one value: text, a number, true, false or null")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}: found {value}; should be a finite number")
    try:
        checked: Scalar = adapter_of(info).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name}: found {shown(value)}; {rule_of(error)}") from None
    except TypeError as error:  # limits that do not go with the type, as a length with a number
        raise UserError(f"{name}: found {shown(value)}: {one_line(error)}") from None
    return checked


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    return value is None or isinstance(value, str | int | float | bool)
