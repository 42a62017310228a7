"""A loss that is out of the race, as the truth keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Unit = Literal["epochs", "trials"]
"""What losses compete for."""


@dataclass(frozen=True)
class Dropped:
    """Why a loss gets no new trials.

    Attributes:
        loss: the loss that is out, by its name in the study.
        best: its best value then; None if none of its trials had a value.
        upper: the most it could have reached by the end; None if best is.
        slope: its recent rise per unit spent; None if its first value had come inside the window.
        spent: what it had spent on ended trials.
        leader: the best of the losses then in the race.
        leader_best: the leader's best value, at least ``upper``.
        left: what was left of the race.
        total: the budget of the race.
        unit: what ``spent``, ``left`` and ``total`` count.
    """

    loss: str
    best: float | None
    upper: float | None
    slope: float | None
    spent: int
    leader: str
    leader_best: float
    left: int
    total: int
    unit: Unit

    @property
    def reason(self) -> str:
        """One sentence: ``after 810 epochs: best 0.2410, …; infonce has 0.3370``."""
        after = f"after {self.spent} {self.unit[:-1] if self.spent == 1 else self.unit}"
        if self.best is None:
            return f"{after}: no trial had a value; {self.leader} has {self.leader_best:.4f}"
        return (
            f"{after}: best {self.best:.4f}, at its recent slope at most {self.upper:.4f} by the end; "
            f"{self.leader} has {self.leader_best:.4f}"
        )

    def __str__(self) -> str:
        return f"{self.loss} {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for storage as JSON or YAML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Dropped":
        """What :meth:`to_dict` gave, also that of an earlier release, where a loss had no name but its own.

        Raises:
            ValueError: a key is missing, or is none of its fields.
        """
        if "loss" not in stored and "loss_fn" in stored:
            stored = {"loss" if key == "loss_fn" else key: value for key, value in stored.items()}
        expected = {field.name for field in fields(cls)}
        if expected != set(stored):
            raise ValueError(f"a dropped loss has the keys {sorted(expected)}, found {sorted(stored)}")
        return cls(**stored)
