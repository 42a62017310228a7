"""An option made from a field: its names, its help, and what is received where it is not given."""

from typing import Any, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from losstune.trainer.base.errors import UserError
from losstune.trainer.cli.field_options import field_option, given, help_text, with_options
from tests.trainer.samples import refusal


class Settings(BaseModel):
    """One field of each kind."""

    rate_of_step: float = Field(0.1, gt=0, le=1, description="how far a step goes")
    rows: int | None = Field(None, ge=4, description="rows; null: all")
    kind: Literal["plain", "bent"] = Field("plain", description="which kind")
    loud: bool = Field(False, description="say more")
    needed: str = Field(description="without a default")
    sample: int | Literal["all"] = Field("all", description="how many are drawn  (default: as many as there are)")
    share: float | None = Field(0.5, gt=0, description="share; null: none")
    label: str | None = Field(None, description="a label")
    few: int | Literal["most"] | None = Field(3, description="how few")


FIELDS = Settings.model_fields


def run(*arguments: str) -> dict[str, Any]:
    received: dict[str, Any] = {}

    def command(name: str, **settings: Any) -> None:
        received.update({"name": name, **given(settings)})

    app = typer.Typer()
    options = [field_option(field, info, "Panel", ("l",) if field == "loud" else ()) for field, info in FIELDS.items()]
    app.command()(with_options(command, [*options, field_option("model.depth", FIELDS["rows"], "Panel")]))
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return received


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("rate_of_step", "how far a step goes  (> 0 and <= 1)  (default: 0.1)"),
        ("rows", "rows; null: all  (>= 4)  (default: null)"),
        ("kind", "which kind  (plain, bent)  (default: plain)"),
        ("loud", "say more  (default: False)"),
        ("needed", "without a default"),
        ("sample", "how many are drawn  (default: as many as there are)"),
    ],
)
def test_help_is_description_limits_and_default(field: str, text: str) -> None:
    assert help_text(FIELDS[field]) == text


def test_only_what_is_given_is_received() -> None:
    assert run("one") == {"name": "one"}


def test_values_arrive_in_the_fields_type_under_its_name() -> None:
    line = ("one", "--rate-of-step", "0.5", "--rows", "8", "--kind", "bent", "--loud", "--model.depth", "2")
    expected = {"name": "one", "rate_of_step": 0.5, "rows": 8, "kind": "bent", "loud": True, "model.depth": 2}
    assert run(*line) == expected


def test_a_switch_can_be_turned_off_by_each_of_its_names() -> None:
    assert run("one", "--no-loud") == run("one", "--no-l") == {"name": "one", "loud": False}


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("all", "all"), ("-1", "-1"), ("1.0", "1.0")])
def test_a_whole_number_or_a_word_is_read_as_what_it_is(text: str, value: int | str) -> None:
    assert run("one", "--sample", text) == {"name": "one", "sample": value}


@pytest.mark.parametrize("text", ["null", "Null", "NULL", "~"])
@pytest.mark.parametrize("field", ["rows", "share", "label", "few"])
def test_null_is_none_where_the_field_allows_it(field: str, text: str) -> None:
    assert run("one", f"--{field}", text) == {"name": "one", field: None}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [("rows", "8", 8), ("share", "1e-2", 0.01), ("label", "nil", "nil"), ("few", "most", "most")],
)
def test_beside_null_a_field_takes_what_it_takes(field: str, text: str, value: object) -> None:
    assert run("one", f"--{field}", text) == {"name": "one", field: value}


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("rows", "1.5", "rows: found '1.5'; should be a whole number, or null"),
        ("rows", "", "rows: found ''; should be a whole number, or null"),
        ("share", "none", "share: found 'none'; should be a number, or null"),
    ],
)
def test_neither_is_refused(field: str, text: str, message: str) -> None:
    assert refusal(run, "one", f"--{field}", text) == message


def test_help_shows_that_null_is_taken() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(with_options(lambda **_: None, [field_option(name, FIELDS[name], "Panel") for name in FIELDS]))
    shown = {words[0]: words[1] for line in help_of(app).splitlines() if (words := line.split()) and len(words) > 1}
    assert (shown["--share"], shown["--rows"], shown["--few"]) == ("float|null", "int|null", "N|most|null")


def help_of(app: typer.Typer) -> str:
    return CliRunner().invoke(app, ["--help"], terminal_width=200).output
