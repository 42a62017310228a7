"""Arithmetic of derived settings, against Python's own."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.tuning.space.expression import MAX_LENGTH, Expression

NAMES = ("cosine_weight", "lr", "model.depth")

numbers = st.one_of(st.integers(0, 999).map(str), st.floats(0, 1e3, allow_subnormal=False).map(repr))
leaves = st.one_of(numbers, st.sampled_from(NAMES))


def larger(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(parts, st.sampled_from(["+", "-", "*", "/", "//"]), parts).map(" ".join)
    return st.one_of(binary, parts.map("({})".format), st.tuples(st.sampled_from("+-"), parts).map("".join))


texts = st.recursive(leaves, larger, max_leaves=12).filter(lambda text: len(text) <= MAX_LENGTH)
values = st.one_of(st.integers(-99, 99), st.floats(-99, 99))


@given(texts, values, values, values)
def test_gives_what_python_gives(text: str, weight: float, lr: float, depth: float) -> None:
    names = {"cosine_weight": weight, "lr": lr, "model": SimpleNamespace(depth=depth)}
    parameters = {"cosine_weight": weight, "lr": lr, "model.depth": depth}
    try:
        expected = eval(text, {"__builtins__": {}}, names)
    except ZeroDivisionError:
        with pytest.raises(ValueError, match=r"^division by zero$"):
            Expression.parse(text).value(parameters)
        return
    found = Expression.parse(text).value(parameters)
    assert type(found) is type(expected)
    assert found == expected or (found != found and expected != expected)


@given(texts)
def test_knows_the_names_it_needs(text: str) -> None:
    assert Expression.parse(text).names == {name for name in NAMES if name in text}


@pytest.mark.parametrize(
    "text",
    [
        "max(lr, 1)",
        "lr()",
        "lr < 1",
        "lr == 1",
        "not lr",
        "lr and 1",
        "lr ** 2",
        "lr % 2",
        "lr @ lr",
        "lr << 1",
        "~lr",
        "'lr'",
        "b'lr'",
        "f'{lr}'",
        "True",
        "None",
        "...",
        "1j",
        "[lr]",
        "(lr, 1)",
        "{lr}",
        "lr[0]",
        "lr if 1 else 2",
        "lambda: 1",
        "(x := 1)",
        "[x for x in lr]",
        "1 + (lr if 1 else 2)",
        "-max(lr, 1)",
    ],
)
def test_refuses_all_but_arithmetic(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not allowed; use numbers, parameter names, \+ - \* / // and \(\)$"):
        Expression.parse(text)


@pytest.mark.parametrize("text", ["(1).real", "lr[0].x", "lr().x", "'a'.b"])
def test_refuses_attributes_of_anything_but_names(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a parameter name$"):
        Expression.parse(text)


@pytest.mark.parametrize("text", ["", "1 +", "1; 2", "import os", "lr = 1", "1\n2", "lr\0", "(" * 150, "1 2"])
def test_refuses_what_python_can_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an arithmetic expression$"):
        Expression.parse(text)


def test_refuses_long_text() -> None:
    longest = "1" + " + 1" * ((MAX_LENGTH - 1) // 4)
    text = longest.ljust(MAX_LENGTH)
    assert Expression.parse(text).value({}) == 50
    with pytest.raises(ValueError, match=r"^longer than 200 characters$"):
        Expression.parse(text + " ")


def test_an_underscored_name_reaches_no_attribute() -> None:
    expression = Expression.parse("lr.__class__")
    assert expression.names == {"lr.__class__"}
    assert expression.value({"lr": 1, "lr.__class__": 2}) == 2


@pytest.mark.parametrize(("found", "shown"), [("cosine", "'cosine'"), (True, "True"), (None, "None")])
def test_counts_with_numbers_only(found: object, shown: str) -> None:
    with pytest.raises(ValueError, match=f"^schedule is {shown}, not a number$"):
        Expression.parse("1 + schedule").value({"schedule": found})


def test_equal_texts_are_equal_expressions() -> None:
    assert Expression.parse("1 - lr") == Expression.parse("1 - lr")
    assert Expression.parse("1 - lr") != Expression.parse("1 + lr")
