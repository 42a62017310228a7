"""What a loss module returns, checked before it is used."""

from collections.abc import Mapping

from torch import Tensor

from losstune.trainer.base.errors import UserError, shown
from losstune.trainer.losses import LossOutput
from losstune.trainer.score.names import METRICS, NAME_RULE, can_be_a_name


def checked_output(output: object, loss: str) -> LossOutput:
    """What a loss module returned, its parts detached.

    Raises:
        UserError: it is no LossOutput of scalars, or a part has the name of a metric, or none that can be shown.
    """
    if not isinstance(output, LossOutput):
        raise UserError(f"loss {loss}: its module returned {type(output).__name__}; expected LossOutput(loss, parts)")
    if not isinstance(output.parts, Mapping):
        raise UserError(f"loss {loss}: parts: found {shown(output.parts)}; expected tensors by name, or {{}} for none")
    for name, value in {"loss": output.loss, **output.parts}.items():
        if not isinstance(value, Tensor) or value.ndim > 0:
            found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise UserError(f"loss {loss}: {name}: found {found}; expected a tensor that holds one number, shape ()")
    if taken := METRICS.intersection(output.parts):
        raise UserError(f"loss {loss}: its part {min(taken)!r} has the name of a metric; give it another")
    for name in output.parts:
        if not can_be_a_name(name):
            raise UserError(f"loss {loss}: its part {name!r}: a name has {NAME_RULE}")
    return LossOutput(output.loss, {name: value.detach() for name, value in output.parts.items()})


class SameParts:
    """Refuses a batch whose loss logs other parts than that of the first one: a mean over all would say nothing."""

    def __init__(self, loss: str, split: str) -> None:
        """Of a pass over a split; both are for messages."""
        self._loss = loss
        self._split = split
        self._batch = 0
        self._first: frozenset[str] = frozenset()

    def check(self, parts: Mapping[str, Tensor]) -> None:
        """Take in the parts of the next batch.

        Raises:
            UserError: names the part and the batch.
        """
        self._batch += 1
        if self._batch == 1:
            self._first = frozenset(parts)
        elif parts.keys() != self._first:
            name = min(parts.keys() ^ self._first)
            there, absent = (1, self._batch) if name in self._first else (self._batch, 1)
            raise UserError(
                f"loss {self._loss}: its part {name!r} is in {self._split} batch {there} and not in batch {absent}; "
                "each batch is to have the same parts: give it a value there too, as predictions.new_zeros(())"
            )
