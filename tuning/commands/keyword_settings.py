"""The settings of a study as keywords of a function."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.tuning.commands.study_view import StudyView
from losstune.tuning.space.settings import StudySettings


def with_study_settings(function: Callable[..., StudyView]) -> Callable[..., StudyView]:
    """The function, whose signature also tells the study's settings that it takes, one by one."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=info.annotation)
        for name, info in StudySettings.model_fields.items()
    ]
    function.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return function


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse a keyword that is no setting of a study.

    Raises:
        UserError: with what it may have been meant to be.
    """
    for name in settings:
        if name not in StudySettings.model_fields:
            near = difflib.get_close_matches(name, StudySettings.model_fields, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(StudySettings.model_fields)}"
            raise UserError(f"{name} is no argument, and no setting of a study; {hint}")
