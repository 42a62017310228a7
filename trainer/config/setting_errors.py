"""What is wrong with a setting, in words: a name that there is not, a value that is not allowed."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from pydantic import ValidationError

from losstune.trainer.base.errors import UserError, shown
from losstune.trainer.config.factory import FACTORY, Factory
from losstune.trainer.config.loss_config import LossConfig
from losstune.trainer.config.loss_registry import loss_config_class, loss_names


def unknown_name(name: str, loss_class: type[LossConfig], factory: Factory | None, settings: Iterable[str]) -> str:
    """Message for a name that no setting has, with the loss it belongs to or the nearest of the settings there are."""
    if factory and name.startswith("model."):
        hint = _hint(name.removeprefix("model."), list(factory.options), "model.")
        return f"{name} is not an option of {factory.reference}{hint}"
    if owners := list(_owners(name)):
        return f"{name} belongs to {', '.join(owners)}, not to {loss_class.name}"
    return f"{name} is not a setting{_hint(name, list(dict.fromkeys([*settings, FACTORY])))}"


def _hint(name: str, allowed: list[str], prefix: str = "") -> str:
    near = [f"{prefix}{other}" for other in difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; allowed: {', '.join(f'{prefix}{other}' for other in allowed) or 'none'}"


def _owners(parameter: str) -> Iterator[str]:
    for loss in loss_names():
        with suppress(UserError):  # one that can not be imported is no reason to refuse another
            if parameter in loss_config_class(loss).model_fields:
                yield loss


def describe(error: ValidationError) -> str:
    """Pydantic's findings as ``name: found value; what is allowed``, one per line."""
    lines = []
    for finding in error.errors():
        name = ".".join(str(part) for part in finding["loc"])
        if error.title == "ModelConfig":
            name = f"model.{name}"
        rule = finding["msg"].removeprefix("Input ").removeprefix("Value error, ")
        lines.append(f"{name}: found {shown(finding['input'])}; {rule}" if name else rule)
    return "\n".join(lines)
