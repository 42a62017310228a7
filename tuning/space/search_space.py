"""YAML → a typed search space for one loss. No optimisation library is known here."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from losstune.trainer.config.factory import FACTORY, Factory, load_factory
from losstune.trainer.config.loss_config import LossConfig
from losstune.trainer.config.loss_registry import loss_reference
from losstune.trainer.config.train_config import TrainConfig, required_settings
from losstune.tuning.space.expression import Expression

MAX_GRID = 100_000
Value = str | int | float | bool | None
Point = dict[str, Any]
"""A value for each active parameter of a space, by flat name."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; ``log`` samples the exponent, ``step`` makes them discrete."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.integer and not float(value).is_integer():
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8

    @property
    def values(self) -> Sequence[float] | None:
        """All values in order, None where they are a continuum."""
        if self.step is None and not self.integer:
            return (self.low,) if self.low == self.high else None
        if self.step is None and self.high - self.low >= MAX_GRID:
            return range(int(self.low), int(self.high) + 1)  # a tuple of them might fill the memory
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step or 1))
        kind = int if self.integer else float
        return tuple(kind(low + index * step) for index in range(int((high - low) // step) + 1))

    def exact(self, value: float) -> float:
        """A value without the rounding errors of counting steps: 0.3 for 0.1 + 2 · 0.1."""
        if self.step is None or self.values is None:
            return value
        return self.values[round((value - self.low) / self.step)]

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values at which limits are checked."""
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)

    def __str__(self) -> str:
        kind = ("whole numbers " if self.integer else "") + f"{self.low:g} … {self.high:g}"
        return kind + (", log" if self.log else "") + (f", step {self.step:g}" if self.step else "")


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return any(value == choice and type(value) is type(choice) for choice in self.values)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values at which limits are checked: all."""
        return self.values

    def __str__(self) -> str:
        return " | ".join(map(str, self.values))


Domain = Range | Choices


@dataclass(frozen=True)
class Parameter:
    """A searched setting. With ``when`` it exists only where the named parameters have one of these values."""

    name: str
    domain: Domain
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def active(self, point: Mapping[str, Any]) -> bool:
        """Whether the parameter exists beside the values chosen so far."""
        return all(name in point and point[name] in allowed for name, allowed in self.when.items())


@dataclass(frozen=True)
class SearchSpace:
    """What is searched for one loss.

    Attributes:
        file: where it was read, for messages.
        loss_class: config class of the loss.
        parameters: in the order of the file; a condition names only earlier ones.
        start: complete points to try first, in order.
        derived: settings computed from parameters and fixed values.
        fixed: settings that are the same in every trial.
        study: settings of the study as the file gives them, None entries where it is silent.
        source: the file's content as plain data, which reads back to an equal space.
        shipped: whether it comes with losstune: what its study says is no wish of the user's.
    """

    file: str
    loss_class: type[LossConfig]
    parameters: tuple[Parameter, ...]
    start: tuple[Point, ...]
    derived: Mapping[str, Expression]
    fixed: Mapping[str, Value]
    study: Mapping[str, Any]
    source: Mapping[str, Any]
    shipped: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """What a study calls it, in folders, tables and metrics: its own name, else its loss's."""
        return str(self.source.get("name", self.loss_fn))

    @property
    def loss_fn(self) -> str:
        """The loss function by its short name."""
        return self.loss_class.name

    @property
    def title(self) -> str:
        """Its name, with the loss function beside it where that has another."""
        return self.name if self.name == self.loss_fn else loss_title(self.name, self.reference)

    @property
    def reference(self) -> str:
        """The loss as training settings have it: its name where that is registered, else ``package.module:Class``."""
        return loss_reference(self.loss_class)

    @property
    def factory(self) -> Factory | None:
        """The user's own model, None where it is the built-in encoder."""
        return load_factory(str(self.fixed[FACTORY])) if FACTORY in self.fixed else None

    @property
    def required(self) -> set[str]:
        """Settings without a default, which every point has to have."""
        return required_settings(self.loss_class, self.factory)

    def settings(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Flat training settings of a point: loss, fixed, chosen and derived values.

        Raises:
            ValueError: a derived value can not be computed.
        """
        known = {**self.fixed, **point}
        computed = {name: _integral(expression.value(known)) for name, expression in self.derived.items()}
        return {"loss_fn": self.reference, **known, **computed}

    def train_config(self, point: Mapping[str, Any], **managed: Any) -> TrainConfig:
        """The training config of a point, with the settings that a study manages.

        Raises:
            UserError: a value is outside its limits.
            ValueError: a derived value can not be computed.
        """
        return TrainConfig.from_flat({**self.settings(point), **managed})

    @property
    def size(self) -> int | None:
        """Number of distinct points, None where there is a continuum; counted up to ``MAX_GRID + 1``."""
        if any(parameter.domain.values is None for parameter in self.parameters):
            return None
        return sum(1 for _ in itertools.islice(self.points(), MAX_GRID + 1))

    def points(self) -> Iterator[Point]:
        """All points of a discrete space, the last parameter varying fastest."""
        yield from self._expand({}, 0)

    def _expand(self, point: Point, index: int) -> Iterator[Point]:
        if index == len(self.parameters):
            yield dict(point)
            return
        parameter = self.parameters[index]
        if not parameter.active(point):
            yield from self._expand(point, index + 1)
            return
        for value in parameter.domain.values or ():
            yield from self._expand({**point, parameter.name: value}, index + 1)


def loss_title(loss: str, loss_fn: str) -> str:
    """``infonce``, or of a space with a name of its own ``deep_infonce (infonce)``."""
    return loss if loss == loss_fn else f"{loss} ({loss_fn})"


def typical_point(space: SearchSpace) -> Point:
    """The first start point, or the middle of every parameter."""
    if space.start:
        return space.start[0]
    point: Point = {}
    for parameter in space.parameters:
        if not parameter.active(point):
            continue
        values = parameter.domain.values
        if values:
            point[parameter.name] = values[len(values) // 2]
        elif isinstance(parameter.domain, Range):
            low, high = parameter.domain.low, parameter.domain.high
            point[parameter.name] = (low * high) ** 0.5 if parameter.domain.log else (low + high) / 2
    return point


MANAGED = {
    "loss_fn": "it stands at the top of the file",
    "data": "give it as --data",
    "columns": "give it as --columns",
    "num_epochs": "the study sets it: study.max_epochs",
    "schedule_epochs": "the study sets it: study.max_epochs",
    "objective": "the study sets it: study.objective",
    "eval_queries": "the study sets it: study.eval_queries",
    "seed": "the study sets it: study.seed",
    "split_seed": "the study sets it: study.seed",
    "split_by": "the study sets it: study.split_by",
    "answers": "the study sets it: study.answers",
    "threads": "give it as --cpus-per-trial",
    "device": "give it as --gpus-per-trial",
    "fit": "a search validates, so it trains on train",
}
"""Settings that a space may not name, and where they come from instead."""


def _integral(value: float) -> float | int:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
