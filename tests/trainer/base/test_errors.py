"""Values and errors as messages show them, and errors that leave a block as others."""

import math

import pytest

from losstune.trainer.base.errors import UserError, one_line, shown, translating


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "'a'"), (1.5, "1.5"), (math.nan, "nan"), (-math.inf, "-inf"), ("x" * 100, "'" + "x" * 76 + "...")],
)
def test_a_value_is_shown_short(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value)) <= 80


@pytest.mark.parametrize(
    ("error", "text"),
    [(ValueError("one\n  two"), "one two"), (AssertionError(), "AssertionError"), (KeyError("a"), "'a'")],
)
def test_an_error_is_one_line(error: Exception, text: str) -> None:
    assert one_line(error) == text


def told(error: Exception) -> UserError:
    return UserError(f"told: {error}")


def test_errors_of_a_kind_leave_the_block_translated() -> None:
    with pytest.raises(UserError, match=r"^told: full$") as raised, translating((OSError, KeyError), told):
        raise OSError("full")
    assert raised.value.__suppress_context__


def test_all_other_errors_leave_it_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), translating(OSError, told):
        raise ZeroDivisionError
    with pytest.raises(UserError, match=r"^as it is$"), translating(Exception, told):
        raise UserError("as it is")
    with pytest.raises(KeyboardInterrupt), translating(Exception, told):
        raise KeyboardInterrupt


def test_what_is_for_the_user_already_may_be_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match=r"^again$"), translating(UserError, lambda _: ValueError("again"), ()):
        raise UserError("once")
