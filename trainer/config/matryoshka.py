"""Which prefixes of the embeddings a run trains and scores, its whole among them.

Both settings are text with commas, ``32,64,128``: one value, as samplers, command lines and tables want it. In YAML
and from programs a list may stand for it.
"""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator

from losstune.trainer.base.errors import UserError

LISTS = ("matryoshka_dims", "matryoshka_weights")
"""Settings that a list may be given for."""
MOST = 16
"""Prefixes of a run: each is scored as the whole is, and costs up to as much."""
HEAVIEST = 100.0
_SIZE = re.compile(r"[1-9][0-9]{0,6}")


class Prefix(NamedTuple):
    """The first ``dims`` dimensions, and the weight of their loss in the sum; one of weight 0 is only scored."""

    dims: int
    weight: float


def one_value(name: str, value: Any) -> Any:
    """What stands for a list, where the setting is one: its text; any other value as it is."""
    if name not in LISTS or value is None or isinstance(value, bool):
        return value
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    return ",".join(str(item).strip() for item in items)


def _dims(text: str | None) -> str | None:
    if text is None:
        return None
    items = text.split(",")
    if not all(map(_SIZE.fullmatch, items)) or len(set(items)) < len(items) or len(items) > MOST:
        raise ValueError(f"should be different whole numbers of at least 1, {MOST} at most, as 32,64,128")
    return text


def _weights(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        numbers = [float(item) for item in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(0 <= number <= HEAVIEST for number in numbers):
        raise ValueError(f"should be numbers of 0 to {HEAVIEST:g}, one for each of matryoshka_dims, as 1,1,0.5")
    return text


Dims = Annotated[str | None, AfterValidator(_dims)]
Weights = Annotated[str | None, AfterValidator(_weights)]


def named_prefixes(dims: str | None, weights: str | None) -> tuple[Prefix, ...]:
    """Those that settings name, the shortest first; without weights each has weight 1.

    Raises:
        ValueError: there are not as many weights as prefixes.
    """
    sizes = [] if dims is None else [int(item) for item in dims.split(",")]
    if weights is None:
        return tuple(Prefix(size, 1.0) for size in sorted(sizes))
    numbers = [float(item) for item in weights.split(",")]
    if len(numbers) != len(sizes):
        raise ValueError(
            f"matryoshka_weights: found {weights}; should be one for each of matryoshka_dims: {dims or 'none'}"
        )
    return tuple(sorted(map(Prefix, sizes, numbers)))


def with_whole(named: Sequence[Prefix], output_dim: int) -> tuple[Prefix, ...]:
    """The prefixes of a run, the whole one last, with weight 1 where it is not named; none where none is named.

    Raises:
        UserError: one is longer than the embeddings, or the whole has no weight.
    """
    if not named:
        return ()
    longest = named[-1]
    if longest.dims > output_dim:
        raise UserError(
            f"matryoshka_dims: found {longest.dims}; the targets have {output_dim} dimensions, and no prefix has more"
        )
    if longest == Prefix(output_dim, 0.0):
        raise UserError(
            f"matryoshka_weights: found 0 for all {output_dim} dimensions, which a run is judged by; "
            "it should be above 0, as 0.1"
        )
    return tuple(named) if longest.dims == output_dim else (*named, Prefix(output_dim, 1.0))


def trained_dims(named: Sequence[Prefix], output_dim: int) -> tuple[int, ...]:
    """Dimensions of the prefixes that a loss acts on, the last one those of the whole.

    Raises:
        UserError: as :func:`with_whole`.
    """
    return tuple(prefix.dims for prefix in with_whole(named, output_dim) if prefix.weight) or (output_dim,)
