"""A function that takes a study's settings shows each of them, and refuses what is none."""

import inspect
from typing import Any

from losstune.tuning.commands.keyword_settings import check_settings, with_study_settings
from losstune.tuning.commands.study_view import StudyView
from losstune.tuning.space.settings import StudySettings
from tests.trainer.samples import refusal


def test_the_signature_has_what_the_function_takes_itself_and_then_every_setting() -> None:
    def call(space: str, *, study: str, **settings: Any) -> StudyView:
        raise NotImplementedError

    found = inspect.signature(with_study_settings(call)).parameters
    assert [*found] == ["space", "study", *StudySettings.model_fields]
    assert {found[name].kind for name in StudySettings.model_fields} == {inspect.Parameter.KEYWORD_ONLY}
    assert found["trials"].annotation == StudySettings.model_fields["trials"].annotation


def test_what_is_no_setting_is_refused_with_what_it_may_mean() -> None:
    check_settings({"trials": 3, "seed": None})
    assert refusal(check_settings, {"seed": 1, "trails": 3}) == (
        "trails is no argument, and no setting of a study; did you mean trials?"
    )
    allowed = ", ".join(StudySettings.model_fields)
    assert refusal(check_settings, {"x": 3}) == f"x is no argument, and no setting of a study; allowed: {allowed}"
