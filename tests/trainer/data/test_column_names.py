"""What ``--columns`` says, and how it is told what it can not be."""

import pytest

from losstune.trainer.data.column_names import ColumnNames, columns_of_roles, columns_text, listed
from tests.trainer.samples import refusal


@pytest.mark.parametrize(
    "said",
    [
        "inputs=anchor,targets=positive",
        " inputs = anchor , targets=positive",
        {"inputs": "anchor", "targets": "positive"},
    ],
)
def test_names_by_role(said: str | dict[str, str]) -> None:
    names = ColumnNames.of(said)
    assert names.wanted() == {
        "inputs": "anchor",
        "targets": "positive",
        "ids": "ids",
        "groups": "groups",
        "split": "split",
    }
    assert names.wanted(("inputs",)) == {"inputs": "anchor"}
    assert columns_text(said) == "inputs=anchor,targets=positive"


def test_negatives_are_only_what_is_said_to_be() -> None:
    assert "negatives" not in ColumnNames.of(None).wanted()
    assert ColumnNames.of("negatives=hard").wanted()["negatives"] == "hard"
    assert columns_of_roles(["inputs", "targets", "negatives"]) == "negatives=negatives"
    assert columns_of_roles(["inputs", "targets"]) is None


def test_nothing_said_is_nothing_kept() -> None:
    assert ColumnNames.of(None).wanted()["inputs"] == "inputs"
    assert columns_text(None) is columns_text({}) is None


def test_a_name_may_hold_an_equals_sign() -> None:
    assert ColumnNames.of("inputs=a=b").wanted()["inputs"] == "a=b"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("anchor", "--columns: found 'anchor'; expected for example inputs=anchor,targets=positive"),
        ("", "--columns: found ''; expected for example inputs=anchor,targets=positive"),
        ("input=anchor", "--columns: found 'input'; allowed: inputs, targets, ids, groups, split, negatives"),
        ("inputs=", "--columns: inputs: found ''; a name has no comma, and is not empty"),
        ({"inputs": "a,b"}, "--columns: inputs: found 'a,b'; a name has no comma, and is not empty"),
        (
            "inputs=a,inputs=b",
            "--columns: found 'inputs=a,inputs=b'; "
            "each of inputs, targets, ids, groups, split, negatives can be said once",
        ),
    ],
)
def test_what_is_not_of_the_form_is_refused(said: str | dict[str, str], message: str) -> None:
    assert refusal(ColumnNames.of, said) == message


def test_a_name_that_is_not_there_is_named_with_those_that_are() -> None:
    names = ColumnNames.of("targets=positive")
    message = "x: no column 'positive', which is to be targets; found anchor, negative: --columns targets=NAME"
    assert refusal(names.check, ["negative", "anchor"], ("inputs", "targets"), "x") == message
    names.check(["anchor"], ("inputs",), "x")


def test_unused_is_what_stands_for_nothing_but_for_the_index_of_pandas() -> None:
    names = ColumnNames.of("inputs=anchor,targets=positive")
    found = ["anchor", "positive", "ids", "text", "inputs", "__index_level_0__"]
    assert names.unused(found) == ("text", "inputs")


def test_a_message_lists_some_names_of_many() -> None:
    assert listed([]) == "none"
    assert listed(f"c{number:02}" for number in range(15)) == ", ".join(f"c{n:02}" for n in range(12)) + " and 3 more"
