"""Reads and checks a search-space file. Every message says file, line, key, what was found, what is allowed."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.yaml_file import YamlFile, parse_yaml, read_yaml
from losstune.trainer.config.factory import FACTORY, Factory, adapter_of, load_factory, rule_of
from losstune.trainer.config.flat_names import flatten
from losstune.trainer.config.loss_registry import is_loss_name, loss_config_class, loss_reference
from losstune.trainer.config.matryoshka import LISTS, one_value
from losstune.tuning.space.checks import SettingChecks, fail
from losstune.tuning.space.domains import read_domain
from losstune.tuning.space.expression import Expression
from losstune.tuning.space.search_space import Parameter, Point, SearchSpace, Value
from losstune.tuning.space.settings import StudySettings

SECTIONS = ("loss_fn", "name", "start", "space", "derived", "fixed", "study")


def shipped_names() -> list[str]:
    """Names of the search spaces that come with the product."""
    files = resources.files("losstune.search_spaces").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_space(name_or_path: str) -> SearchSpace:
    """A shipped space by name, or a file by path.

    Raises:
        UserError: there is no such space, or it is not valid.
    """
    if name_or_path in shipped_names():
        text = (resources.files("losstune.search_spaces") / f"{name_or_path}.yaml").read_text("utf-8")
        return replace(read_space(parse_yaml(text, f"{name_or_path}.yaml")), shipped=True)
    return read_space(own_file(name_or_path))


def own_file(name_or_path: str) -> YamlFile:
    """A user's file by path.

    Raises:
        UserError: there is none, or it is not strict YAML.
    """
    path = Path(name_or_path)
    # Path.exists raises where a name is too long for a file
    if path.suffix not in (".yaml", ".yml") and not os.path.exists(path):  # noqa: PTH110
        raise UserError(
            f"no search space {name_or_path!r}: give the path of a YAML file, or one of {', '.join(shipped_names())}"
        )
    return read_yaml(path)


def read_space(file: YamlFile) -> SearchSpace:
    """Turn a YAML mapping into a checked search space.

    Raises:
        UserError: with file, line and key.
    """
    return _SpaceReader(file).read()


class _SpaceReader:
    """One pass over one file; its methods return parts of the space or fail with their place."""

    def __init__(self, file: YamlFile) -> None:
        self.file = file
        self.data = file.data

    def read(self) -> SearchSpace:
        for key in self.data:
            if key not in SECTIONS:
                self._fail(f"unknown section; allowed: {', '.join(SECTIONS)}", key)
        if "loss_fn" not in self.data:
            raise UserError(f"{self.file.where()}: loss_fn is missing: the loss that this space is for")
        try:
            self.loss = loss_config_class(self.data["loss_fn"])
        except UserError as error:
            raise UserError(f"{self.file.where('loss_fn')}: {error}") from None
        self.checks = SettingChecks(self.file, self.loss, self._factory())
        fixed = self._fixed()
        parameters = self._parameters(fixed)
        derived = self._derived(parameters, fixed)
        space = SearchSpace(
            file=self.file.name,
            loss_class=self.loss,
            parameters=parameters,
            start=(),
            derived=derived,
            fixed=fixed,
            study=self._study(),
            source=self._source(),
        )
        self._check_corners(space)
        start = self._start(space)
        return SearchSpace(**{**vars(space), "start": start})

    def _fail(self, message: str, *path: str | int) -> NoReturn:
        fail(self.file, message, *path)

    def _source(self) -> dict[str, Any]:
        """The file's content. A name that is the loss's is left out: with it and without, it is the same space."""
        name = self.data.get("name", self.loss.name)
        if not is_loss_name(name):
            self._fail(
                f"found {name!r}; expected 1 to 40 letters, digits and _, which become part of folders and of metrics",
                "name",
            )
        source = {**self.data, "loss_fn": loss_reference(self.loss)}
        if name == self.loss.name:
            source.pop("name", None)
        return source

    def _section(self, name: str) -> dict[str, Any]:
        section = self.data.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            self._fail(f"found {section!r}; expected a mapping", name)
        return section

    def _factory(self) -> Factory | None:
        section = self._section("fixed")
        fixed = flatten(section)
        if FACTORY not in fixed:
            return None
        try:
            return load_factory(fixed[FACTORY])
        except UserError as error:
            raise UserError(f"{self.file.where('fixed', *_yaml_path(section, FACTORY))}: {error}") from None

    def _fixed(self) -> dict[str, Value]:
        fixed = _flat(self._section("fixed"))
        for name, value in fixed.items():
            place = ("fixed", *_yaml_path(self._section("fixed"), name))
            self.checks.name(name, *place)
            self.checks.value(name, value, *place)
        return fixed

    def _parameters(self, fixed: Mapping[str, Value]) -> tuple[Parameter, ...]:
        parameters: dict[str, Parameter] = {}
        for name, spec in self._section("space").items():
            self.checks.name(name, "space", name)
            if name in fixed:
                self._fail("is in fixed too; a setting is searched or fixed", "space", name)
            if not isinstance(spec, dict):
                self._fail(f"found {spec!r}; expected {{low, high}} or {{choices}}", "space", name)
            keys = {key: value for key, value in spec.items() if key != "when"}
            domain = read_domain(name, keys, self.checks)
            when = self._when(name, spec.get("when", {}), parameters)
            parameters[name] = Parameter(name, domain, when)
        return tuple(parameters.values())

    def _when(self, name: str, when: object, earlier: Mapping[str, Parameter]) -> dict[str, tuple[Value, ...]]:
        if not isinstance(when, dict):
            self._fail(f"found {when!r}; expected {{parameter: value}}", "space", name, "when")
        result: dict[str, tuple[Value, ...]] = {}
        for parent, wanted in when.items():
            if parent not in earlier:
                self._fail(f"{parent} is no parameter that stands above {name}", "space", name, "when", parent)
            values = tuple(one_value(parent, value) for value in (wanted if isinstance(wanted, list) else [wanted]))
            if not values:
                self._fail("found []; expected a value or several", "space", name, "when", parent)
            for value in values:
                if value not in earlier[parent].domain:
                    self._fail(f"{parent} is never {value!r}: {earlier[parent].domain}", "space", name, "when", parent)
            result[parent] = values
        return result

    def _derived(self, parameters: tuple[Parameter, ...], fixed: Mapping[str, Value]) -> dict[str, Expression]:
        always = {p.name for p in parameters if not p.when} | set(fixed)
        searched = {p.name for p in parameters}
        result: dict[str, Expression] = {}
        for name, text in self._section("derived").items():
            self.checks.name(name, "derived", name)
            if name in fixed or name in searched:
                self._fail("is fixed or searched too; a derived setting stands here only", "derived", name)
            try:
                result[name] = Expression.parse(str(text))
            except ValueError as error:
                self._fail(f"found {text!r}: {error}", "derived", name)
            for used in sorted(result[name].names - always):
                why = "is conditional" if used in searched else "is neither a parameter nor fixed"
                self._fail(f"{used} {why}", "derived", name)
        return result

    def _study(self) -> dict[str, Any]:
        study = self._section("study")
        for name, value in study.items():
            if name not in StudySettings.model_fields:
                self._fail(f"unknown key; allowed: {', '.join(StudySettings.model_fields)}", "study", name)
            info = StudySettings.model_fields[name]
            try:
                adapter_of(info).validate_python(value)
            except ValidationError as error:
                self._fail(f"found {value!r}; {rule_of(error)}", "study", name)
        return study

    def _start(self, space: SearchSpace) -> tuple[Point, ...]:
        listed = self.data.get("start") or []
        if not isinstance(listed, list) or not all(isinstance(point, dict) for point in listed):
            self._fail(f"found {listed!r}; expected a list of points", "start")
        return tuple(self._start_point(space, _flat(point), index) for index, point in enumerate(listed))

    def _start_point(self, space: SearchSpace, given: Mapping[str, Any], index: int) -> Point:
        domains = {parameter.name: parameter.domain for parameter in space.parameters}
        for name, value in given.items():
            if name not in domains:
                self._fail(f"{name} is not searched; searched: {', '.join(domains)}", "start", index, name)
            if value not in domains[name]:
                self._fail(f"{name}: {value!r} is outside {domains[name]}", "start", index, name)
        defaults = self.checks.defaults
        point: Point = {}
        for parameter in space.parameters:
            if not parameter.active(point):
                continue
            if parameter.name not in given and parameter.name not in defaults:
                self._fail(f"{parameter.name} is not given, and has no default", "start", index)
            value = given.get(parameter.name, defaults.get(parameter.name))
            if value not in parameter.domain:
                self._fail(
                    f"{parameter.name} is not given, and its default {value!r} is outside {parameter.domain}",
                    "start",
                    index,
                )
            point[parameter.name] = value
        for name in given:
            if name not in point:
                self._fail(f"{name} does not exist under its condition in this point", "start", index, name)
        return point

    def _check_corners(self, space: SearchSpace) -> None:
        """Rules across settings, at the extremes of every parameter that a rule or a derived value uses."""
        used = {name for expression in space.derived.values() for name in expression.names}
        used |= set(self.loss.model_fields) | space.required
        asked = [p for p in space.parameters if p.name in LISTS or (p.name in used and not p.when)]
        for values in itertools.islice(itertools.product(*(p.domain.extremes for p in asked)), 4096):
            corner: Point = {}
            for parameter, value in zip(asked, values, strict=True):
                if parameter.active(corner):
                    corner[parameter.name] = value
            try:
                space.train_config(corner)
            except (UserError, ValueError) as error:
                at = ", ".join(f"{name} {value}" for name, value in corner.items())
                self._fail(f"at {at or 'every point'}: {error}", "derived" if space.derived else "space")


def _flat(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one_value(name, value) for name, value in flatten(section).items()}


def _yaml_path(section: Mapping[str, Any], flat_name: str) -> tuple[str, ...]:
    """Keys under which a flat name stands: whole, or nested."""
    return (flat_name,) if flat_name in section else tuple(flat_name.split("."))
