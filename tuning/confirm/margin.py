"""How much worse a smaller model may be and still be as good: a margin in the unit of the objective."""

from losstune.trainer.base.errors import UserError

MARGIN = 0.02
"""What is as good, unless another margin is asked for, in the objective's unit (all of them end at 1).

On digits a model's MRR moves by 0.015 from seed to seed: a difference that is hardly more than what training once again
would make is none that a user can notice. Ten seeds can show it: differences of 0.01 to 0.02 are what they detect.
"""


def margin_of(wish: str | float) -> float:
    """A margin as a person gives it.

    Raises:
        UserError: it is no number above 0 and below 1.
    """
    try:
        margin = float(wish)
    except (TypeError, ValueError):
        margin = 0.0
    if 0 < margin < 1:
        return margin
    raise UserError(f"--margin: found {wish}; expected a difference in the objective, above 0 and below 1, as {MARGIN}")


def smallest_margin(*, smallest: bool, margin: float | None) -> float | None:
    """The margin of ``--smallest``, the default if none is given; None without ``--smallest``.

    Raises:
        UserError: no number above 0 and below 1, or a margin alone, which would change nothing.
    """
    if smallest:
        return MARGIN if margin is None else margin_of(margin)
    if margin is not None:
        raise UserError("--margin: goes with --smallest here; a comparison takes it alone")
    return None


def smallest_options(margin: float | None) -> str:
    """``--smallest``, with the margin where another one than the default was asked for."""
    return "--smallest" if margin in (None, MARGIN) else f"--smallest --margin {margin:g}"
