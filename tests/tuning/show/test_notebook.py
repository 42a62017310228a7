"""What a console shows, as text and as HTML."""

from rich.table import Table

from losstune.tuning.show.notebook import shown_forms


def test_both_forms_hold_what_was_printed_in_so_many_columns() -> None:
    table = Table("loss", "best")
    table.add_row("<infonce>", "0.5")
    forms = shown_forms(lambda console: (console.print(table), console.print("x" * 50))[0], width=40)
    assert "<infonce>" in forms["text/plain"]
    assert max(map(len, forms["text/plain"].splitlines())) == 40
    assert "&lt;infonce&gt;" in forms["text/html"]
    assert "<infonce>" not in forms["text/html"]
