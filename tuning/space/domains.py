"""Reads ``{low, high, …}`` and ``{choices}`` of a space file."""

import math
from typing import Any

from losstune.trainer.config.matryoshka import one_value
from losstune.tuning.space.checks import SettingChecks
from losstune.tuning.space.search_space import MAX_GRID, Choices, Domain, Range

MAX_INT = 2**53
RANGE_KEYS = ("low", "high", "log", "step", "int")


def read_domain(name: str, spec: dict[str, Any], checks: SettingChecks) -> Domain:
    """The values of a parameter, from its keys without ``when``.

    Raises:
        UserError: with file, line and key.
    """
    if "choices" in spec:
        if len(spec) > 1:
            checks.fail(
                f"has choices and {', '.join(k for k in spec if k != 'choices')}; choices stand alone",
                "space",
                name,
            )
        return _choices(name, spec["choices"], checks)
    for key in spec:
        if key not in RANGE_KEYS:
            checks.fail(f"unknown key; allowed: choices, or {', '.join(RANGE_KEYS)}; and when", "space", name, key)
    return _range(name, spec, checks)


def _choices(name: str, values: object, checks: SettingChecks) -> Choices:
    if not isinstance(values, list) or not values:
        checks.fail(f"found {values!r}; expected a list of values", "space", name, "choices")
    values = [one_value(name, value) for value in values]
    for index, value in enumerate(values):
        if isinstance(value, list | dict):
            checks.fail(f"choice {index + 1} is {value!r}; expected one value", "space", name, "choices")
        checks.value(name, value, "space", name, "choices", index)
        if value in values[:index]:
            checks.fail(f"the choice {value!r} stands twice", "space", name, "choices")
    return Choices(tuple(values))


def _range(name: str, spec: dict[str, Any], checks: SettingChecks) -> Range:
    for key in ("low", "high"):
        if key not in spec:
            checks.fail(f"{key} is missing; a range is {{low, high}}, a list is {{choices}}", "space", name)
    for key in ("low", "high", "step"):
        value = spec.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float):
            checks.fail(f"found {value!r}; expected a number", "space", name, key)
    for key in ("log", "int"):
        if not isinstance(spec.get(key, False), bool):
            checks.fail(f"found {spec[key]!r}; expected true or false", "space", name, key)
    domain = Range(
        spec["low"], spec["high"], log=spec.get("log", False), step=spec.get("step"), integer=spec.get("int", False)
    )
    _check_range(name, domain, checks)
    for key, value in zip(("low", "high"), domain.extremes, strict=True):
        checks.value(name, value, "space", name, key)
    return domain


def _check_range(name: str, domain: Range, checks: SettingChecks) -> None:
    if domain.low > domain.high:
        checks.fail(f"low {domain.low} is more than high {domain.high}", "space", name)
    if domain.log and domain.low <= 0:
        checks.fail(f"low is {domain.low}; a log range starts above 0", "space", name, "low")
    if domain.step is not None and not 0 < domain.step < math.inf:
        checks.fail(f"found {domain.step}; a step is a finite number above 0", "space", name, "step")
    if domain.step is not None and domain.log:
        checks.fail("has log and step; a log range has no step", "space", name)
    if domain.step is not None and (domain.high - domain.low) / domain.step >= MAX_GRID:
        checks.fail(f"found {domain.step}; gives more than {MAX_GRID:,} values", "space", name, "step")
    if domain.integer and any(not float(x).is_integer() for x in (domain.low, domain.high, domain.step or 1)):
        checks.fail("low, high and step of an int range are whole numbers", "space", name)
    if domain.integer and max(abs(domain.low), abs(domain.high)) > MAX_INT:
        checks.fail(f"an int range lies within ±{MAX_INT:,}, where samplers count exactly", "space", name)
    if not domain.integer and checks.takes_integers(name):
        checks.fail("takes whole numbers: add int: true, or list choices", "space", name)
