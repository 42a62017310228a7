"""What a person wishes of a launch or a confirmation, in a program or on the command line."""

import operator
import re
from typing import Literal

from losstune.trainer.base.errors import UserError

TOP, SEEDS = 3, 10
"""How many settings of each loss are confirmed, with how many fresh seeds, where nothing else is wished."""


def seconds_of(wish: str | float) -> float:
    """``90s``, ``30m``, ``2h``, or a plain number in seconds.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(wish).strip())
    if not found or float(found[1]) == 0:
        raise UserError(f"--time-budget: found {wish!r}; expected a time like 90s, 30m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def count_of(wish: int, option: str, least: int = 1) -> int:
    """A whole number from ``least``, as the command line lets no other pass.

    Raises:
        UserError: it is none.
    """
    try:
        count = operator.index(wish)
    except TypeError:
        count = 0
    if count < least:
        raise UserError(f"{option}: found {wish!r}; expected a whole number from {least}")
    return count


def share_of(wish: str | float) -> float | Literal["auto"]:
    """A share of a GPU from 0 to 1, a whole number of GPUs, or ``auto``.

    Raises:
        UserError: it is none of these.
    """
    if wish == "auto":
        return "auto"
    try:
        share = float(wish)
    except (TypeError, ValueError):
        share = -1.0
    if 0 <= share <= 1 or (share > 1 and share.is_integer()):
        return share
    raise UserError(f"--gpus-per-trial: found {wish}; expected a share from 0 to 1, a whole number of GPUs, or auto")
