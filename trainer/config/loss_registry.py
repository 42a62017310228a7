"""Finds losses: by the name that an installed package registers, or by ``package.module:ConfigClass``.

A package registers its losses in its own pyproject.toml, as ours does:

    [project.entry-points."losstune.losses"]
    focal = "my_package.focal:FocalConfig"
"""

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.references import is_reference, resolve
from losstune.trainer.config.loss_config import LossConfig

GROUP = "losstune.losses"
_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")


def is_loss_name(text: object) -> bool:
    """Whether a loss could have this name, which becomes part of folders and of metrics."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def loss_names() -> list[str]:
    """Names of all registered losses, sorted; none of them is imported."""
    return sorted(_registered())


def loss_config_class(reference: object) -> type[LossConfig]:
    """The config class of a loss.

    Args:
        reference: a registered name, or ``package.module:ConfigClass``.

    Raises:
        UserError: there is none, it can not be imported, or it is not a loss; says why.
    """
    if isinstance(reference, str) and reference in _registered():
        return _registered_class(tuple(_registered()[reference]))
    if is_reference(reference):
        return _dotted_class(str(reference))
    names = ", ".join(loss_names()) or "none is registered (install losstune again: its metadata is older than it)"
    raise UserError(f"loss_fn: found {reference!r}; allowed: {names}, or package.module:ConfigClass")


def loss_reference(config_class: type[LossConfig]) -> str:
    """What stands for a loss in files: its name where that is registered, else ``package.module:ConfigClass``."""
    entries = _registered().get(config_class.name, ())
    return config_class.name if entries and _registered_class(tuple(entries)) is config_class else _dotted(config_class)


def _registered() -> Mapping[str, list[EntryPoint]]:
    """All entry points of the group by name, looked up anew only when ``sys.path`` has changed."""
    return _scan(tuple(sys.path))


@cache
def _scan(_: tuple[str, ...]) -> Mapping[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


@cache
def _registered_class(entries: tuple[EntryPoint, ...]) -> type[LossConfig]:
    entry, *others = entries
    name, source = entry.name, _distribution(entry)
    if others:
        both = " and ".join(map(_distribution, entries))
        raise UserError(f"loss_fn: {name!r} is registered by {both}; uninstall one of them")
    try:
        found = entry.load()
    except Exception as error:  # another's module, whatever it stumbles over
        raise UserError(
            f"loss_fn {name}: registered by {source}, but {entry.value} can not be imported: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from None
    where = f"loss_fn {name}, {entry.value} of {source}"
    loss = _checked(found, where)
    if loss.name != name:
        raise UserError(f"{where}: its name is {loss.name!r}; it must be {name!r}, as it is registered")
    return loss


@cache
def _dotted_class(reference: str) -> type[LossConfig]:
    where = f"loss_fn {reference}"
    if reference.startswith("__main__:"):
        raise UserError(f"{where}: workers can not import it from a program that runs; put it in a module beside it")
    loss = _checked(resolve(reference, "loss_fn"), where)
    if not is_reference(_dotted(loss)):
        raise UserError(f"{where}: {loss.__qualname__} is not at the top of its module, where workers could import it")
    if loss.name in _registered() and loss_reference(loss) != loss.name:
        source = _distribution(_registered()[loss.name][0])
        raise UserError(f"{where}: its name {loss.name!r} is that of a loss of {source}; choose another")
    return loss


def _checked(found: object, where: str) -> type[LossConfig]:
    """What was imported, once it is a loss that can work."""
    if not isinstance(found, type) or not issubclass(found, LossConfig):
        shown = found.__name__ if isinstance(found, type) else type(found).__name__
        raise UserError(f"{where}: found {shown}; expected a subclass of losstune.LossConfig")
    for mistake in _mistakes(found):
        raise UserError(f"{where}: {mistake}")
    return found


def _mistakes(loss: type[LossConfig]) -> Iterator[str]:
    name = getattr(loss, "name", None)
    if not is_loss_name(name):
        yield f'name: found {name!r}; expected 1 to 40 letters, digits and _, as name: ClassVar[str] = "focal"'
    if loss.build is LossConfig.build:
        yield "it has no method build(self, train)"
    if loss.smallest_batch > loss.recommended_batch:
        yield f"recommended_batch: found {loss.recommended_batch}; smallest_batch is {loss.smallest_batch}"
    for field, info in loss.model_fields.items():
        if info.is_required():
            yield f"{field}: it has no default"
        if not _is_plain(info.annotation):
            yield f"{field}: its type is {info.annotation}; allowed: bool, int, float, str, Literal of str, or | None"


def _is_plain(annotation: object) -> bool:
    """Whether a parameter is one value that a command line and a YAML file can say."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return len(kinds) == 1 and _is_plain(kinds[0])
    if get_origin(annotation) is Literal:
        return all(isinstance(choice, str) for choice in get_args(annotation))
    return annotation in (bool, int, float, str)


def _dotted(loss: type[LossConfig]) -> str:
    return f"{loss.__module__}:{loss.__qualname__}"


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
