"""Settings by flat name, of a file that nests groups of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from losstune.trainer.base.errors import UserError


def flatten(nested: Mapping[str, Any]) -> dict[str, Any]:
    """``{"model": {"depth": 0}}`` → ``{"model.depth": 0}``; flat names pass through.

    Raises:
        UserError: a name stands twice.
    """
    flat: dict[str, Any] = {}
    for name, value in _flatten(nested, ""):
        if name in flat:
            raise UserError(f"{name} stands twice, nested and with a dot")
        flat[name] = value
    return flat


def _flatten(nested: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
