"""The point of a space that trains as a run of another space did."""

import math
from collections.abc import Mapping
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.tuning.space.search_space import Choices, Domain, Parameter, Point, SearchSpace


class MisfitError(ValueError):
    """A space has no such point: its text names a setting and says why."""


def carried_over(settings: Mapping[str, Any], space: SearchSpace) -> Point:
    """The point of a space whose runs have exactly these settings.

    So a value lies in its parameter's domain, or is what the space fixes, derives or leaves at its default: also that
    of a parameter which is not active, and of one that the other space did not know.

    Args:
        settings: of a run, all of them by flat name, as :meth:`TrainConfig.flat` has them without those of a study.

    Raises:
        MisfitError: there is none.
    """
    point: Point = {}
    for parameter in space.parameters:
        if parameter.active(point):
            point[parameter.name] = _value(parameter, settings)
    try:
        own = space.train_config(point).flat()
    except (UserError, ValueError) as error:
        raise MisfitError(str(error)) from None
    for name in dict.fromkeys([*own, *settings]):
        if not _alike(own.get(name), settings.get(name)):
            raise MisfitError(f"{name} {settings.get(name)}, here {own.get(name)}")
    return point


def _value(parameter: Parameter, settings: Mapping[str, Any]) -> object:
    """The domain's own value: 16 of choices for the 16.0 that a training setting of that name may be."""
    name = parameter.name
    if name not in settings:
        raise MisfitError(f"{name} is no setting there")
    found = within(parameter.domain, settings[name])
    if not found:
        raise MisfitError(f"{name} {settings[name]}, here {parameter.domain}")
    return found[0]


def within(domain: Domain, value: Any) -> list[Any]:
    """The domain's own value that is this one, 16 for 16.0; empty where there is none."""
    if isinstance(domain, Choices):
        return [choice for choice in domain.values if _alike(choice, value)]
    if value not in domain:
        return []
    return [int(value) if domain.integer else domain.exact(value)]


def _alike(one: object, other: object) -> bool:
    """Equal, also where one was computed; a switch is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other
