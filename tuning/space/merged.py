"""The settings of a study over several spaces, and of the command line's options."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.setting_errors import describe
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import BUDGET_FIELDS, SAMPLER, StudySettings


def merged_settings(spaces: list[SearchSpace], options: Mapping[str, Any]) -> StudySettings:
    """The settings of a new study over several spaces; ``options`` of the command line come first.

    Raises:
        UserError: two files disagree, or the user's settings contradict each other.
    """
    merged: dict[str, Any] = dict(options)
    origin: dict[str, str] = dict.fromkeys(options, "the command line")
    wished = set(options)
    budget_given = not set(BUDGET_FIELDS).isdisjoint(options)
    for space in spaces:
        for name, value in space.study.items():
            if name in options or (budget_given and name in BUDGET_FIELDS):
                continue
            if name in merged and merged[name] != value:
                raise UserError(
                    f"study.{name}: {origin[name]} says {merged[name]}, {space.file} says {value}; "
                    f"give --{name.replace('_', '-')} to settle it"
                )
            merged[name], origin[name] = value, space.file
            wished |= set() if space.shipped else {name}
    try:
        return StudySettings.model_validate({"sampler": SAMPLER, **merged, **_bent(merged, wished)})
    except ValidationError as error:
        raise UserError(f"study: {describe(error)}") from None


def _bent(merged: Mapping[str, Any], wished: set[str]) -> dict[str, Any]:
    """What is a default, here or in a shipped space, gives way to the ``max_epochs`` that the user has asked for."""
    most = merged.get("max_epochs")
    if "max_epochs" not in wished or not isinstance(most, int) or most < 1:
        return {}
    bent: dict[str, Any] = {}
    grace = merged.get("grace_epochs", StudySettings.model_fields["grace_epochs"].default)
    if "grace_epochs" not in wished and most < grace:
        bent["grace_epochs"] = most
    if "epochs_per_loss" not in wished and (merged.get("epochs_per_loss") or most) < most:
        bent["epochs_per_loss"] = None
    return bent
