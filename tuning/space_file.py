"""Reads and checks a search-space file. Every message says file, line, key, what was found, what is allowed."""

import itertools
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from trainer.config import TrainConfig, check_batch_rule, flat_fields, flatten, unknown_name
from trainer.errors import UserError
from trainer.losses import loss_config_class
from trainer.yaml_file import YamlFile, parse_yaml, read_yaml
from tuning.expression import Expression
from tuning.settings import StudySettings
from tuning.space import MANAGED, MAX_GRID, Choices, Domain, Parameter, Point, Range, SearchSpace, Value

SECTIONS = ("loss_fn", "start", "space", "derived", "fixed", "study")
RANGE_KEYS = ("low", "high", "log", "step", "int")


def shipped_names() -> list[str]:
    """Names of the search spaces that come with the product."""
    files = resources.files("search_spaces").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_space(name_or_path: str) -> SearchSpace:
    """A shipped space by name, or a file by path.

    Raises:
        UserError: there is no such space, or it is not valid.
    """
    shipped = shipped_names()
    if name_or_path in shipped:
        text = (resources.files("search_spaces") / f"{name_or_path}.yaml").read_text("utf-8")
        return read_space(parse_yaml(text, f"{name_or_path}.yaml"))
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        raise UserError(
            f"no search space {name_or_path!r}: give the path of a YAML file, or one of {', '.join(shipped)}"
        )
    return read_space(read_yaml(path))


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
        self.fields = flat_fields(self.loss)
        fixed = self._fixed()
        parameters = self._parameters(fixed)
        derived = self._derived(parameters, fixed)
        space = SearchSpace(
            file=self.file.name,
            loss_fn=self.loss.name,
            parameters=parameters,
            start=(),
            derived=derived,
            fixed=fixed,
            study=self._study(),
            source=self.data,
        )
        self._check_corners(space)
        start = self._start(space)
        return SearchSpace(**{**vars(space), "start": start})

    def _section(self, name: str) -> dict[str, Any]:
        section = self.data.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            self._fail(f"found {section!r}; expected a mapping", name)
        return section

    def _fixed(self) -> dict[str, Value]:
        fixed = flatten(self._section("fixed"))
        for name, value in fixed.items():
            place = ("fixed", *_yaml_path(self._section("fixed"), name))
            self._check_name(name, *place)
            self._check_value(name, value, *place)
        return fixed

    def _parameters(self, fixed: Mapping[str, Value]) -> tuple[Parameter, ...]:
        parameters: dict[str, Parameter] = {}
        for name, spec in self._section("space").items():
            self._check_name(name, "space", name)
            if name in fixed:
                self._fail("is in fixed too; a setting is searched or fixed", "space", name)
            if not isinstance(spec, dict):
                self._fail(f"found {spec!r}; expected {{low, high}} or {{choices}}", "space", name)
            keys = {key: value for key, value in spec.items() if key != "when"}
            domain = self._domain(name, keys)
            when = self._when(name, spec.get("when", {}), parameters)
            parameters[name] = Parameter(name, domain, when)
        return tuple(parameters.values())

    def _domain(self, name: str, spec: dict[str, Any]) -> Domain:
        if "choices" in spec:
            if len(spec) > 1:
                self._fail(
                    f"has choices and {', '.join(k for k in spec if k != 'choices')}; choices stand alone",
                    "space",
                    name,
                )
            return self._choices(name, spec["choices"])
        for key in spec:
            if key not in RANGE_KEYS:
                self._fail(f"unknown key; allowed: choices, or {', '.join(RANGE_KEYS)}; and when", "space", name, key)
        return self._range(name, spec)

    def _choices(self, name: str, values: object) -> Choices:
        if not isinstance(values, list) or not values:
            self._fail(f"found {values!r}; expected a list of values", "space", name, "choices")
        for index, value in enumerate(values):
            if isinstance(value, list | dict):
                self._fail(f"choice {index + 1} is {value!r}; expected one value", "space", name, "choices")
            self._check_value(name, value, "space", name, "choices", index)
            if value in values[:index]:
                self._fail(f"the choice {value!r} stands twice", "space", name, "choices")
        return Choices(tuple(values))

    def _range(self, name: str, spec: dict[str, Any]) -> Range:
        for key in ("low", "high"):
            if key not in spec:
                self._fail(f"{key} is missing; a range is {{low, high}}, a list is {{choices}}", "space", name)
        for key in ("low", "high", "step"):
            value = spec.get(key, 1)
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._fail(f"found {value!r}; expected a number", "space", name, key)
        for key in ("log", "int"):
            if not isinstance(spec.get(key, False), bool):
                self._fail(f"found {spec[key]!r}; expected true or false", "space", name, key)
        domain = Range(
            spec["low"], spec["high"], log=spec.get("log", False), step=spec.get("step"), integer=spec.get("int", False)
        )
        self._check_range(name, domain)
        for key, value in zip(("low", "high"), domain.extremes, strict=True):
            self._check_value(name, value, "space", name, key)
        return domain

    def _check_range(self, name: str, domain: Range) -> None:
        if domain.low > domain.high:
            self._fail(f"low {domain.low} is more than high {domain.high}", "space", name)
        if domain.log and domain.low <= 0:
            self._fail(f"low is {domain.low}; a log range starts above 0", "space", name, "low")
        if domain.step is not None and not 0 < domain.step < math.inf:
            self._fail(f"found {domain.step}; a step is a finite number above 0", "space", name, "step")
        if domain.step is not None and domain.log:
            self._fail("has log and step; a log range has no step", "space", name)
        if domain.step is not None and (domain.high - domain.low) / domain.step >= MAX_GRID:
            self._fail(f"found {domain.step}; gives more than {MAX_GRID:,} values", "space", name, "step")
        if domain.integer and any(not float(x).is_integer() for x in (domain.low, domain.high, domain.step or 1)):
            self._fail("low, high and step of an int range are whole numbers", "space", name)
        if not domain.integer and self._takes_integers(name):
            self._fail("takes whole numbers: add int: true, or list choices", "space", name)

    def _takes_integers(self, name: str) -> bool:
        try:
            self._adapter(name).validate_python(1.5)
        except ValidationError as error:
            return any(finding["type"].startswith("int") for finding in error.errors())
        return False

    def _when(self, name: str, when: object, earlier: Mapping[str, Parameter]) -> dict[str, tuple[Value, ...]]:
        if not isinstance(when, dict):
            self._fail(f"found {when!r}; expected {{parameter: value}}", "space", name, "when")
        result: dict[str, tuple[Value, ...]] = {}
        for parent, wanted in when.items():
            if parent not in earlier:
                self._fail(f"{parent} is no parameter that stands above {name}", "space", name, "when", parent)
            values = tuple(wanted) if isinstance(wanted, list) else (wanted,)
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
            self._check_name(name, "derived", name)
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
                _adapter_of(info).validate_python(value)
            except ValidationError as error:
                self._fail(f"found {value!r}; {_rule(error)}", "study", name)
        return study

    def _start(self, space: SearchSpace) -> tuple[Point, ...]:
        listed = self.data.get("start") or []
        if not isinstance(listed, list) or not all(isinstance(point, dict) for point in listed):
            self._fail(f"found {listed!r}; expected a list of points", "start")
        return tuple(self._start_point(space, flatten(point), index) for index, point in enumerate(listed))

    def _start_point(self, space: SearchSpace, given: Mapping[str, Any], index: int) -> Point:
        domains = {parameter.name: parameter.domain for parameter in space.parameters}
        for name, value in given.items():
            if name not in domains:
                self._fail(f"{name} is not searched; searched: {', '.join(domains)}", "start", index, name)
            if value not in domains[name]:
                self._fail(f"{name}: {value!r} is outside {domains[name]}", "start", index, name)
        default = TrainConfig.from_flat({"loss_fn": self.loss.name}).flat()
        point: Point = {}
        for parameter in space.parameters:
            if not parameter.active(point):
                continue
            value = given.get(parameter.name, default[parameter.name])
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
        used |= set(self.loss.model_fields)
        axes = [[(p.name, v) for v in p.domain.extremes] for p in space.parameters if p.name in used and not p.when]
        for corner in itertools.islice(itertools.product(*axes), 4096):
            try:
                space.train_config(dict(corner))
            except (UserError, ValueError) as error:
                at = ", ".join(f"{name} {value}" for name, value in corner)
                self._fail(f"at {at or 'every point'}: {error}", "derived" if space.derived else "space")

    def _check_name(self, name: str, *path: str | int) -> None:
        if name in MANAGED:
            self._fail(f"can not stand here: {MANAGED[name]}", *path)
        if name not in self.fields:
            raise UserError(f"{self.file.where(*path)}: {_dotted(path)}: {unknown_name(name, self.loss, MANAGED)}")

    def _check_value(self, name: str, value: object, *path: str | int) -> None:
        try:
            self._adapter(name).validate_python(value)
        except ValidationError as error:
            self._fail(f"found {value!r}; {_rule(error)}", *path)
        if name == "batch_size" and isinstance(value, int):
            try:
                check_batch_rule(value, self.loss)
            except UserError as error:
                raise UserError(f"{self.file.where(*path)}: {error}") from None

    def _adapter(self, name: str) -> TypeAdapter[Any]:
        return _adapter_of(self.fields[name].info)

    def _fail(self, message: str, *path: str | int) -> NoReturn:
        raise UserError(f"{self.file.where(*path)}: {_dotted(path)}: {message}")


def _adapter_of(info: FieldInfo) -> TypeAdapter[Any]:
    """Checks one value against a field's type and limits, as its model would."""
    annotated: Any = info.annotation
    for rule in info.metadata:
        annotated = Annotated[annotated, rule]
    return TypeAdapter(annotated, config={"strict": True, "allow_inf_nan": False})


def _dotted(path: tuple[str | int, ...]) -> str:
    return " → ".join(f"item {part + 1}" if isinstance(part, int) else part for part in path)


def _rule(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Input ")


def _yaml_path(section: Mapping[str, Any], flat_name: str) -> tuple[str, ...]:
    """Keys under which a flat name stands: whole, or nested."""
    return (flat_name,) if flat_name in section else tuple(flat_name.split("."))


def check_grid(space: SearchSpace) -> None:
    """Refuse a space that ``sampler: grid`` can not run through.

    Raises:
        UserError: naming the parameter that is a continuum, or the number of points.
    """
    for parameter in space.parameters:
        if parameter.domain.values is None:
            raise UserError(
                f"{space.file}: space → {parameter.name}: the grid sampler needs choices, int or step; "
                f"found {parameter.domain}"
            )
    if (space.size or 0) > MAX_GRID:
        raise UserError(f"{space.file}: the grid has more than {MAX_GRID:,} points")
