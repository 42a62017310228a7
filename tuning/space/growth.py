"""A space that only grew: every point that it had is still a point of it, and trains as it did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from losstune.tuning.space.carried_over import within
from losstune.tuning.space.search_space import Choices, Parameter, Point, Range, SearchSpace, typical_point


@dataclass(frozen=True)
class Change:
    """What a parameter was and is, in words, and the rule that it breaks, "" where it only grew."""

    before: str
    now: str
    rule: str


@dataclass(frozen=True)
class Growth:
    """How the parameters of a space differ from those that it had.

    Attributes:
        now: the space as it is.
        changes: by parameter.
        added: what each parameter that is new was in every point of before: fixed, or left at its default.
    """

    now: SearchSpace
    changes: Mapping[str, Change]
    added: Mapping[str, Any]

    def point(self, before: Point) -> Point:
        """What a point of before is now; only where no change breaks a rule."""
        point: Point = {}
        for parameter in self.now.parameters:
            if parameter.active(point):
                point[parameter.name] = before.get(parameter.name, self.added.get(parameter.name))
        return point


def growth(before: SearchSpace, now: SearchSpace) -> Growth:
    """How the parameters of a space have changed; what else it says, as derived and fixed values, is not looked at.

    A parameter may get more choices, in any order, or a wider range of its kind. One may be new, if what it was in all
    points of before is one value, and among its own.
    """
    old = {parameter.name: parameter for parameter in before.parameters}
    own = {parameter.name: parameter for parameter in now.parameters}
    changes: dict[str, Change] = {}
    added: dict[str, Any] = {}
    for name, parameter in own.items():
        if name not in old:
            changes[name], found = _new(before, parameter)
            if found:
                added[name] = found[0]
        elif (old[name].domain, old[name].when) != (parameter.domain, parameter.when):
            changes[name] = Change(_text(old[name]), _text(parameter), _rule(old[name], parameter))
    for name in old.keys() - own.keys():
        changes[name] = Change(_text(old[name]), "not searched", "what is searched stays so")
    return Growth(now, changes, added)


def _new(before: SearchSpace, parameter: Parameter) -> tuple[Change, list[Any]]:
    """A parameter that was none, and its value in all points of before, empty where it has none."""
    name = parameter.name
    if name in before.derived:
        text = f"derived as {before.derived[name].text}"
        return Change(text, _text(parameter), "what is derived stays so"), []
    settings = before.train_config(typical_point(before)).flat()
    found = within(parameter.domain, settings[name]) if name in settings else []
    text = f"fixed at {settings.get(name)}" if name in before.fixed else f"{settings.get(name)}, its default,"
    rule = "" if found else "what all trials had is to be among the values of a new parameter"
    if parameter.when and name in before.fixed:  # where the condition does not hold, it would be at its default
        rule = "what was fixed takes no condition"
    return Change(text, _text(parameter), rule), found


def _rule(before: Parameter, now: Parameter) -> str:
    """The rule that a changed parameter breaks, "" where it only grew."""
    if before.when != now.when:
        return "a condition stays"
    match before.domain, now.domain:
        case Choices(values), Choices() as wider:
            return "" if all(value in wider for value in values) else "choices may come, none may go"
        case Range() as narrow, Range() as wider:
            return _range_rule(narrow, wider)
        case _:
            return "a range stays a range, choices stay choices"


def _range_rule(before: Range, now: Range) -> str:
    if (before.log, before.integer, before.step) != (now.log, now.integer, now.step):
        return "log, int and step stay"
    if not now.low <= before.low <= before.high <= now.high:
        return "a range may become wider, not narrower"
    if before.low not in now or (before.values or (before.low,))[-1] not in now:
        return "a range with steps grows by whole steps"
    return ""


def _text(parameter: Parameter) -> str:
    """``1 … 5 when schedule is cosine``."""
    conditions = " and ".join(f"{name} is {' or '.join(map(str, v))}" for name, v in parameter.when.items())
    return f"{parameter.domain} when {conditions}" if conditions else str(parameter.domain)
