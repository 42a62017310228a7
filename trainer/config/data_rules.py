"""How data is split, and what is right in it: what a study keeps for good, as scores depend on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SplitBy = Literal["ids", "groups", "inputs"]
"""What keeps rows in one split: an id; an id or a group; an id, a group where there are such, or an equal input."""
AnswerRule = Literal["own", "any"]
"""Which targets are right for an input: that of its row, or those of all rows with an equal input."""

SPLIT_BY_TEXT = (
    "what keeps rows in one split: ids alone, groups as well, or equal inputs as well  "
    "(default: groups if the data has them)"
)
ANSWERS_TEXT = "targets that are right for an input: its row's own, or any of rows with an equal input  (default: any)"


@dataclass(frozen=True)
class DataRules:
    """Both. Without ``split_by``, rows are split by groups where the data has them, else by ids."""

    split_by: SplitBy | None = None
    answers: AnswerRule = "any"


NEW_RULES = DataRules()
"""Those of a new study and a new run."""


def new_rules(settings: Mapping[str, Any]) -> DataRules:
    """Those of a new study or run, of which settings by name may say some."""
    return DataRules(**{name: settings[name] for name in ("split_by", "answers") if name in settings})


BEFORE = DataRules("ids", "own")
"""Those of studies, settings and checkpoints that name none: there were no others."""
